"""The whole report as one HTML page that needs no other file and no network."""

import base64
from collections.abc import Mapping

from jinja2 import Environment, StrictUndefined

from ablations.comparison.pages import FIGURES as COMPARED
from ablations.comparison.pages import Comparison
from ablations.comparison.views import View
from ablations.made import made_lines
from ablations.margin import margin_text
from ablations.sentences import metric_text, provenance, sentences
from ablations.statistics import Analysis
from ablations.tables import both_caption, both_tables, caption, cell_table, effect_table
from rambo.drawing import DPI
from rambo.formats import text_bytes

FIGURES = {
    "figures/cells.png": "Every cell: mean ± standard error, and each seed.",
    "figures/effects.png": "Effects with 95 % t intervals; the band is the margin of equivalence.",
    "figures/labels.png": "Before and after the acquisition, mean ± standard error.",
}
"""Pictures on the page, with their captions."""

METHOD = (
    "Effects are taken seed by seed over the seeds that have all the cells they need; an interaction is the difference "
    "between effects. p values are of the two-sided sign-flip test, exact if differences are symmetric, and of two "
    "one-sided t tests (TOST) against the margin. Holm's correction is over all effects of a family and a metric: "
    "those of the factors, or the comparisons with controls. Intervals are of single effects, not adjusted. All of "
    "this is over seeds, on the same test images: an image is about as hard on both sides of a difference, so other "
    "images would add little; how much is said above where trials tell which images they got right."
)

TEMPLATE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{{ name }}</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; max-width: 80rem; margin: 2rem auto; padding: 0 1rem; }
h1, p, li { overflow-wrap: anywhere; }
ul { padding-left: 1.2rem; }
table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .7rem; text-align: center; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
thead th { border-top: 2px solid; border-bottom: 1px solid; }
tbody { border-bottom: 1px solid; }
tbody:last-child { border-bottom-width: 2px; }
.wide { overflow-x: auto; }
.mind { border-left: .3rem solid; padding: .5rem 1rem; }
.note, figcaption { opacity: .75; font-size: .9rem; }
figure { margin: 1.5rem 0; }
img { max-width: 100%; background: #fff; }
@media screen and (max-width: 45rem) {
  .broad { overflow-x: auto; }
  .broad img { max-width: none; width: var(--drawn); }
}
@media print {
  html { font-size: 8pt; }
  body { font-size: 1rem; margin: 0; }
  figure, tr { break-inside: avoid; }
  h2, h3 { break-after: avoid; }
  th, td { padding: .15rem .3rem; white-space: normal; }
}
</style>
</head>
<body>
<h1>{{ name }}</h1>
{% for mark in marks %}<p class="mind">{{ mark }}</p>
{% endfor %}
{% macro show(table) %}
<div class="wide"><table>
<thead><tr>{% for text in table.header %}<th>{{ text }}</th>{% endfor %}</tr></thead>
{% for rows in (table.studied, table.controls) if rows %}
<tbody>
{% for row in rows %}<tr>{% for text in row %}<td>{{ text }}</td>{% endfor %}</tr>
{% endfor %}
</tbody>
{% endfor %}
</table></div>
{% endmacro %}
{% macro pictures(figures, broad) %}
{% for figure in figures %}
<figure>
{% if figure.content %}<div{% if broad %} class="broad" style="--drawn: {{ figure.drawn }}px"{% endif %}>\
<img alt="{{ figure.caption }}" src="data:image/png;base64,{{ figure.content }}"></div>
{% else %}<p class="mind">This picture could not be drawn.</p>
{% endif %}
<figcaption>{{ figure.caption }}</figcaption>
</figure>
{% endfor %}
{% endmacro %}
<h2>Cells</h2>
{{ show(cells) }}
<p class="note">{{ caption }}</p>
{% if paper %}
<h2>{{ paper.title }}</h2>
{{ show(paper.table) }}
<p class="note">{{ paper.note }}</p>
{% endif %}
{% if both %}
<h2>Beside the same cells at fixed settings</h2>
{% for table in both %}{{ show(table) }}
{% endfor %}
<p class="note">{{ both_caption }}</p>
{% endif %}
<h2>Figures</h2>
{{ pictures(figures, true) }}
{% if compared %}
<h2>Strategies compared</h2>
<p class="note">{{ compared.caption }}</p>
{% for view in compared.views %}
<h3>{{ view.title }}</h3>
{{ show(view.table) }}
<p class="note">{{ view.note }}</p>
{% endfor %}
{{ pictures(compared_figures, false) }}
{% endif %}
<h2>What it shows</h2>
<ul>
{% for sentence in sentences %}<li>{{ sentence }}</li>
{% endfor %}
</ul>
{% for analysis in effects %}
<h2>Effects on {{ analysis.metric }}</h2>
{{ show(analysis.table) }}
{% endfor %}
{% if costs %}
<h2>{{ costs.title }}</h2>
{{ show(costs.table) }}
<p class="note">{{ costs.note }}</p>
{% endif %}
<h2>How effects are tested</h2>
<p class="note">{{ method }} {{ margin }}</p>
<h2>Where the numbers come from</h2>
<ul>
{% for line in made %}<li>{{ line }}</li>
{% endfor %}
{% for line in provenance %}<li>{{ line }}</li>
{% endfor %}
</ul>
</body>
</html>
"""


def page(
    analysis: Analysis,
    other: Analysis,
    figures: Mapping[str, bytes],
    fixed: Analysis | None,
    compared: Comparison | None = None,
    paper: View | None = None,
    costs: View | None = None,
) -> bytes:
    """`report.html`: the headline metric in full, `other` as a table of effects, and the pictures that there are.

    `fixed`: of the study whose cells this one has retuned, to stand beside it; `compared`: its strategies, where it
    compares some; `paper`: what the paper prints of it; `costs`: what its trials take.
    """
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    content = environment.from_string(TEMPLATE).render(
        name=analysis.study.name,
        marks=analysis.marks,
        cells=cell_table(analysis.study),
        caption=caption(analysis.study),
        paper=paper,
        costs=costs,
        both=() if fixed is None else both_tables(fixed, analysis),
        both_caption=both_caption(analysis.study),
        sentences=[sentence for sentence in sentences(analysis, other) if sentence not in analysis.marks],
        effects=[{"metric": metric_text(one.metric), "table": effect_table(one)} for one in (analysis, other)],
        method=METHOD,
        margin=margin_text(analysis.margin, analysis.reason, analysis.study.margin),
        figures=_shown(FIGURES, figures),
        compared=compared,
        compared_figures=[] if compared is None else _shown(_of(compared), figures),
        made=made_lines(analysis.study, analysis.margin, analysis.reason),
        provenance=provenance(analysis.study),
    )
    return text_bytes(content)


def _of(compared: Comparison) -> dict[str, str]:
    """The captions of its pictures."""
    return {f"{name}.png": COMPARED[name] for name in compared.pictures}


def _shown(captions: Mapping[str, str], figures: Mapping[str, bytes]) -> list[dict[str, str | None]]:
    """Each with its content, None where it could not be drawn, and the width that it was drawn for, in CSS pixels."""
    there = {name: figures.get(name) for name in captions}
    return [
        {
            "caption": captions[name],
            "content": None if png is None else base64.b64encode(png).decode(),
            "drawn": None if png is None else str(96 * int.from_bytes(png[16:20]) // DPI),
        }
        for name, png in there.items()
    ]
