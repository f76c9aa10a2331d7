"""URLs of databases: made of paths, read, given a driver that is installed, and knocked at before others insist.

The one place that makes a URL of a path to a database; SQLAlchemy's own builder quotes whatever its name holds.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sqlalchemy import create_engine, exc, inspect
from sqlalchemy.engine import URL, make_url
from sqlalchemy.pool import NullPool

from cluster.credentials import masked
from rambo.errors import InvalidInput, require
from rambo.formats import first_line, path_of

SQLITE = "sqlite+pysqlite"
"""With its driver, since MLflow takes what follows `sqlite:///` for a path as it stands, and makes its folders."""

SQLITE_OPTIONS = {"uri", "timeout", "isolation_level", "detect_types", "check_same_thread", "cached_statements"}
"""What may follow a `?` in the URL of an SQLite file."""

DRIVERS = {"postgresql": ("psycopg", "psycopg2"), "mysql": ("mysqldb", "pymysql")}
"""By kind of database, SQLAlchemy's own choice first."""

PACKAGES = {"psycopg": "'psycopg[binary]'", "psycopg2": "psycopg2-binary", "mysqldb": "mysqlclient"}
"""What brings a driver, where the package has another name."""

DAMAGED = ("file is not a database", "disk image is malformed")

EXAMPLES = "sqlite:////absolute/path.db or postgresql://user:password@host/name"

KNOCK_SECONDS = 10
"""How long a server may take to let somebody in."""


def file_url(path: str | Path) -> str:
    """The URL of the SQLite database in the file at the absolute `path`.

    >>> file_url("/home/ann/100%/what?/optuna.db")
    'sqlite+pysqlite:////home/ann/100%25/what%3F/optuna.db'
    """
    return URL.create(SQLITE, database=str(path)).render_as_string(hide_password=False)


def file_of(url: str) -> Path | None:
    """The file of an SQLite database; None for any other."""
    read = make_url(url)
    return Path(read.database) if read.get_backend_name() == "sqlite" and read.database else None


def has_scheme(text: str) -> bool:
    """Whether `text` is a URL, which its scheme alone decides.

    >>> has_scheme("sqlite:///a.db"), has_scheme("a::b/c.db"), has_scheme("what?/x://y")
    (True, False, False)
    """
    scheme, separator, _ = text.partition("://")
    return bool(separator and scheme) and scheme.replace("+", "").replace("-", "").replace(".", "").isalnum()


def database_url(text: str, name: str) -> str:
    """`text`, the URL of a database, as all who open it read it; of an SQLite file its path is made absolute.

    Where it names no driver, one that is installed is taken. `name`: of the flag or variable, for the sentence.
    Raises `InvalidInput` where it is no such URL; whether anything is there is not looked at.
    """
    if not has_scheme(text):
        given = file_url(path_of(text, name).absolute())
        raise InvalidInput(
            f"{name} must be the URL of a database that can be opened, got {masked(text) or 'nothing'}; "
            f"for that file give {given}."
        )
    with _malformed(text, name):
        url = _with_driver(make_url(text))
        dialect = url.get_dialect()
        if url.get_backend_name() == "sqlite":
            dialect().create_connect_args(url)
            url = _absolute(url, text, name)
    return url.render_as_string(hide_password=False)


def knock(url: str) -> set[str]:
    """Open the database at `url` and look at it, once: the names of its tables.

    Raises `InvalidInput` where its driver is not installed, else whatever SQLAlchemy and the driver do.
    """
    read = make_url(url)
    patience = {"postgresql": "connect_timeout", "mysql": "connect_timeout", "sqlite": "timeout"}
    options = {word: KNOCK_SECONDS for backend, word in patience.items() if backend == read.get_backend_name()}
    try:
        engine = create_engine(read, poolclass=NullPool, connect_args=options)
    except ImportError:
        raise InvalidInput(missing_driver(url)) from None
    try:
        return set(inspect(engine).get_table_names())
    finally:
        engine.dispose()


def refuse_tables_of_others(url: str, tables: set[str], ours: str, name: str) -> None:
    """Raise `InvalidInput` where a database is kept by another program: two would take each other's for their own.

    `ours`: a table by which what `name` wants is known. `tables`: what `knock` has found.
    """
    require(
        ours in tables or "alembic_version" not in tables,
        f"{name} must name a database of its own, got {shown(url)}, whose tables another program keeps; give another.",
    )


def missing_driver(url: str) -> str:
    """What to do where the driver of `url` is not installed."""
    read = make_url(url)
    driver = DRIVERS[read.drivername][-1] if read.drivername in DRIVERS else read.get_driver_name()
    return f"the driver of {shown(url)} is not installed: pip install {PACKAGES.get(driver, driver)}"


def shown(url: str) -> str:
    """`url` without its password."""
    with suppress(exc.ArgumentError, ValueError):
        return masked(make_url(url).render_as_string(hide_password=True))
    return masked(url)


def _with_driver(url: URL) -> URL:
    backend = "postgresql" if url.drivername == "postgres" else url.drivername
    for driver in DRIVERS.get(backend, ()):
        found = url.set(drivername=f"{backend}+{driver}")
        with suppress(ImportError):
            found.get_dialect().import_dbapi()
            return found
    return url.set(drivername=SQLITE if backend == "sqlite" else backend)


def _absolute(url: URL, text: str, name: str) -> URL:
    """With an absolute path; a `?` that belongs to a file's name must be quoted, else another file is opened."""
    if not url.database or url.database == ":memory:" or "uri" in url.query:
        return url
    if "?" in text and (not url.query or set(url.query) - SQLITE_OPTIONS):
        path = text.partition(":///")[2]
        raise InvalidInput(
            f"{name} must have what its file's name holds of ?, # and % quoted, got {text}; give "
            f"{file_url(Path(path).absolute())}."
        )
    return url.set(database=str(Path(url.database).absolute()))


@contextmanager
def _malformed(text: str, name: str) -> Iterator[None]:
    try:
        yield
    except (exc.ArgumentError, exc.NoSuchModuleError, ValueError) as error:
        if isinstance(error, InvalidInput):
            raise
        said = masked(first_line(error))
        raise InvalidInput(
            f"{name} must be the URL of a database that can be opened, got {masked(text)} ({said}); give {EXAMPLES}."
        ) from None


def reason_of(error: BaseException) -> str:
    """What a driver said, in one line without passwords; SQLAlchemy's own words around it are left out."""
    for found in (error, error.__cause__):
        if isinstance(found, exc.DBAPIError) and found.orig is not None:
            return masked(first_line(found.orig))
    return masked(first_line(error))


def is_damaged(error: BaseException) -> bool:
    """Whether SQLite has said that a file is none of its databases, or not whole."""
    return any(said in reason_of(error) for said in DAMAGED)
