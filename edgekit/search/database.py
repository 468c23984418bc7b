"""Database: the storage that a URL names, opened, with each question of Optuna's made patient.

`sqlite:///file` is for one machine, `postgresql://user@host/name` (or any other URL of SQLAlchemy) for many. A
password in a URL is never said.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any

from edgekit.errors import InputError, MissingDependency, OutputError
from edgekit.search.patience import Patience, silent
from edgekit.search.quiet_optuna import import_optuna, quiet
from edgekit.search.storage import Storage
from edgekit.talk import Say

BEAT, GRACE = 30, 180
"""Seconds between two signs of life of a trial, and without one after which it is tried again."""
_CONNECT_SECONDS = 10
_STARTS = 60  # of workers that begin together; each that fails has seen another make a table
_MADE_MEANWHILE = ("already exists", "duplicate", "unique constraint")
_WAITED_FOR = (
    *("create_new_study", "get_study_id_from_name", "get_study_directions", "get_all_studies"),
    *("set_study_user_attr", "set_study_system_attr", "get_study_user_attrs", "get_study_system_attrs"),
    *("_create_new_trial", "_set_trial_param", "set_trial_user_attr", "set_trial_system_attr"),
    *("get_trial", "_get_trials", "get_trial_id_from_study_id_trial_number"),
)


def open_storage(url: str, say: Say = lambda _: None) -> Storage:
    """The storage at a URL, its tables made where there are none.

    Raises InputError for what is no URL, MissingDependency without its driver, OutputError where it does not answer or
    refuses; none of them says a password.
    """
    parsed = _parsed(url)
    patience = Patience(shown(url), say)
    for left in reversed(range(_STARTS)):
        try:
            with quiet():
                found = Storage(_patient(parsed, patience), patience)
        except ImportError:
            raise _no_driver(parsed.drivername) from None
        except Exception as cause:
            if not left or not any(words in str(cause).lower() for words in _MADE_MEANWHILE):
                raise _refusal(patience.where, cause, parsed) from None
            time.sleep(random.uniform(0.05, 0.5))
        else:
            patience.begin()
            return found
    raise AssertionError


def shown(url: str) -> str:
    """A URL as it may be said: without user, password and options."""
    parsed = _parsed(url)
    kind = parsed.drivername.partition("+")[0]
    port = f":{parsed.port}" if parsed.port else ""
    return f"{kind}://{parsed.host or ''}{port}/{parsed.database or ''}"


def _parsed(url: str) -> Any:
    """The URL in parts; of PostgreSQL with the driver that edgekit installs."""
    import_optuna()
    import sqlalchemy

    try:
        parsed = sqlalchemy.engine.make_url(url)
    except (sqlalchemy.exc.ArgumentError, ValueError):
        raise InputError(
            "--storage: not a URL of a database", "write postgresql://user@host/name, or sqlite:///file.db"
        ) from None
    if parsed.drivername in ("postgresql", "postgres"):
        parsed = parsed.set(drivername="postgresql+psycopg")
    return parsed


def _patient(url: Any, patience: Patience) -> Any:
    """Optuna's storage, each of whose questions waits for an answer once the first was answered."""
    optuna = import_optuna()

    plain = optuna.storages.RDBStorage

    class Patient(plain):  # type: ignore[misc, valid-type]
        def set_trial_state_values(self, trial_id: int, state: Any, values: Any = None) -> bool:
            failed: list[bool] = []

            def attempt() -> bool:
                try:
                    return bool(plain.set_trial_state_values(self, trial_id, state, values))
                except optuna.exceptions.UpdateFinishedTrialError:
                    if failed and self.get_trial(trial_id).state == state:  # what was lost is the answer
                        return True
                    raise
                except Exception:
                    failed.append(True)
                    raise

            return patience(attempt)

        def _get_stale_trial_ids(self, study_id: int) -> list[int]:
            """Trials that nothing was heard of; after an outage, in which nothing was heard of any, after a while."""
            return patience(lambda: list(plain._get_stale_trial_ids(self, study_id))) if patience.settled else []

        def record_heartbeat(self, trial_id: int) -> None:
            try:
                patience(lambda: plain.record_heartbeat(self, trial_id))
            except OutputError:  # nobody waits for this trial any more
                assert patience.hurried

    for name in _WAITED_FOR:
        setattr(Patient, name, _waiting(getattr(plain, name), patience))
    return Patient(
        url.render_as_string(hide_password=False),
        engine_kwargs=_engine_options(url.drivername),
        heartbeat_interval=BEAT,
        grace_period=GRACE,
    )


def _waiting(plain: Callable[..., Any], patience: Patience) -> Callable[..., Any]:
    def asked(*words: Any, **named: Any) -> Any:
        return patience(lambda: plain(*words, **named))

    return asked


def _engine_options(driver: str) -> dict[str, Any]:
    if driver.startswith("sqlite"):
        return {"connect_args": {"timeout": 60}}
    connect: dict[str, Any] = {"connect_timeout": _CONNECT_SECONDS}
    if driver.startswith("postgresql"):  # a server whose host is gone is noticed within a minute
        connect |= {"keepalives_idle": 20, "keepalives_interval": 10, "keepalives_count": 3, "tcp_user_timeout": 60_000}
    return {"pool_pre_ping": True, "connect_args": connect}


def _no_driver(driver: str) -> MissingDependency:
    if driver.startswith("postgresql"):
        return MissingDependency("--storage: no driver for PostgreSQL", "pip install 'edgekit[search]'")
    return MissingDependency(
        f"--storage: no driver for {driver}",
        "install one, and name it: mysql+pymysql://... after `pip install pymysql`",
    )


def _refusal(where: str, cause: Exception, url: Any) -> Exception:
    """The error for a storage that could not be opened."""
    if not silent(cause) and "NoSuchModuleError" in type(cause).__name__:
        return InputError(f"--storage: no database is called {url.drivername}", "write postgresql:// or sqlite:///file")
    told = str(getattr(cause, "orig", None) or cause.__cause__ or cause).strip().splitlines() or [""]
    secrets = {str(word) for word in (url.password, url.query.get("password")) if word}
    line = told[0]
    for word in secrets:
        line = line.replace(word, "***")
    return OutputError(
        f"storage {where} cannot be used: {line}",
        "see that it runs, that user and password are right, and that the database exists and may be written",
    )
