"""The schema that editors are given is the one that files are read by."""

import json
from pathlib import Path

from jsonschema import Draft202012Validator

from ablations.sweeps.schema import schema
from rambo.fields import fields

SHIPPED = Path(__file__).parents[3] / "ablations/sweeps/sweep.schema.json"


def test_the_shipped_file_is_the_schema_that_files_are_read_by():
    """`python -m ablations sweep schema > ablations/sweeps/sweep.schema.json` after a change of it."""
    assert json.loads(SHIPPED.read_text()) == json.loads(json.dumps(schema()))


def test_it_is_a_schema():
    Draft202012Validator.check_schema(schema())


def test_every_field_but_the_seed_can_be_set_and_varied_and_says_what_it_is():
    study = schema()["properties"]["study"]["items"]["properties"]
    for table in ("fields", "grid"):
        known = study[table]["properties"]
        assert set(known) == set(fields()) - {"seed"}
        assert all(known[name]["description"] == fields()[name].help for name in known)
