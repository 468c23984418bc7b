"""Storage: what workers of a search share beside the trials: turns, and the files of the front.

`turn` lets one worker at a time draw a recipe and say that it is its own, so that no two try the same. Files travel in
a table beside Optuna's. `edgekit.search.database` opens one.
"""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edgekit.search.patience import Patience

_PIECE = 2**22  # bytes of a file in one row: servers limit the size of a statement


class LostTurn(Exception):  # noqa: N818 - it says what happened
    """The connection that held the turn broke, so another worker may have had one meanwhile."""


class Storage:
    """An open storage: `backend` is Optuna's. Make one with `open_storage`."""

    def __init__(self, backend: Any, patience: Patience) -> None:
        self.backend, self.patience = backend, patience
        self._files = _files_table()
        patience(lambda: self._files.metadata.create_all(backend.engine))

    @property
    def _file(self) -> Path | None:
        """The database of one machine."""
        url = self.backend.engine.url
        return Path(url.database) if url.drivername.startswith("sqlite") and url.database else None

    @contextmanager
    def turn(self, study: int) -> Iterator[Callable[[], None]]:
        """The turn of one worker; gives a function that raises LostTurn if it is not certain that this is still it."""
        held = self._file_turn() if self._file else self._row_turn(study)
        with held as check:
            yield check

    @contextmanager
    def _file_turn(self) -> Iterator[Callable[[], None]]:
        assert self._file is not None
        with self._file.with_name(f"{self._file.name}.turn").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield lambda: None

    @contextmanager
    def _row_turn(self, study: int) -> Iterator[Callable[[], None]]:
        """A row that only turns touch, locked by a connection of its own: the server frees it with the connection."""
        import sqlalchemy

        self.patience(lambda: self.backend.set_study_user_attr(study, "turn", ""))
        connection = self.patience(lambda: self._row_locked(study))

        def check() -> None:
            try:
                connection.execute(sqlalchemy.select(1))
            except sqlalchemy.exc.DBAPIError:
                raise LostTurn from None

        try:
            yield check
        finally:
            _let_go(connection)

    def _row_locked(self, study: int) -> Any:
        import sqlalchemy
        from optuna.storages._rdb.models import StudyUserAttributeModel as Row

        connection = self.backend.engine.connect()
        try:
            if connection.dialect.name == "postgresql":  # or a host without power would hold it for hours
                connection.execute(sqlalchemy.text("SET LOCAL idle_in_transaction_session_timeout = '60s'"))
            row = sqlalchemy.select(Row.key).where(Row.study_id == study, Row.key == "turn").with_for_update()
            connection.execute(row)
        except BaseException:
            _let_go(connection)
            raise
        return connection

    def put(self, study: int, name: str, data: bytes) -> None:
        """Keep a file for all workers, in place of one of the same name."""
        table = self._files
        rows = [
            {"study": study, "name": name, "place": at // _PIECE, "data": data[at : at + _PIECE]}
            for at in range(0, len(data), _PIECE)
        ]

        def write() -> None:
            with self.backend.engine.begin() as connection:
                connection.execute(table.delete().where(table.c.study == study, table.c.name == name))
                for row in rows:
                    connection.execute(table.insert(), row)

        self.patience(write)

    def get(self, study: int, name: str) -> bytes | None:
        """A file that some worker put, None where there is none (any more)."""
        import sqlalchemy

        table = self._files
        asked = sqlalchemy.select(table.c.data).where(table.c.study == study, table.c.name == name)

        def read() -> list[bytes]:
            with self.backend.engine.connect() as connection:
                return [bytes(row[0]) for row in connection.execute(asked.order_by(table.c.place))]

        return b"".join(self.patience(read)) or None

    def drop_all_but(self, study: int, names: set[str], known: set[str]) -> None:
        """Forget the files of `known` names that are not among `names`."""
        table = self._files
        old = table.c.name.in_(sorted(known - names))

        def drop() -> None:
            with self.backend.engine.begin() as connection:
                connection.execute(table.delete().where(table.c.study == study, old))

        if known - names:
            self.patience(drop)


def _let_go(connection: Any) -> None:
    """Close a connection, whatever became of it."""
    import sqlalchemy

    try:
        connection.rollback()
    except sqlalchemy.exc.DBAPIError:
        connection.invalidate()
    finally:
        connection.close()


def _files_table() -> Any:
    from sqlalchemy import Column, Integer, LargeBinary, MetaData, String, Table

    return Table(
        "edgekit_files",
        MetaData(),
        Column("study", Integer, primary_key=True, autoincrement=False),
        Column("name", String(200), primary_key=True),
        Column("place", Integer, primary_key=True, autoincrement=False),
        Column("data", LargeBinary(2**24 - 1), nullable=False),
    )
