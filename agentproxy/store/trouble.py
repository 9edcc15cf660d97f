"""What can be wrong with a database, said in sentences that a person can act on."""

from __future__ import annotations

from sqlalchemy.exc import DataError, DBAPIError, IntegrityError

from agentproxy.errors import STORE_UNAVAILABLE, Refusal


class StoreError(Exception):
    """The store cannot be opened, or holds what it cannot hold; the text is the sentence for the operator."""


_SENTENCES = {
    "disk is full": "the disk is full",
    "readonly": "the disk or the database file is read-only",
    "is locked": "another program holds the lock of the database",
    "due to lock timeout": "another program, such as a second agentproxy, holds the lock of the database",
    "no space left": "the disk is full",
    "read-only transaction": "the database is read-only",
    "malformed": "the database file is damaged",
    "not a database": "the database file is damaged (it is not an SQLite database)",
    "disk i/o error": "the disk reports an I/O error",
    "unable to open": "the database file cannot be opened",
}


def sentence(error: BaseException) -> str:
    """Return why the database failed, in words, with the driver's own text for what we do not know."""
    original = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    text = " ".join(str(original).split()) or type(original).__name__
    return next((words for mark, words in _SENTENCES.items() if mark in text.lower()), text)


def is_about_the_data(error: BaseException) -> bool:
    """Return whether the statement itself was wrong, so that the database and its neighbours are well."""
    return not isinstance(error, DBAPIError) or isinstance(error, IntegrityError | DataError)


def translated(error: Exception) -> Exception:
    """Return what a caller of the store is told: a refusal when the database fails, else the error itself."""
    if not isinstance(error, DBAPIError):
        return error
    if is_about_the_data(error):
        return StoreError(f"the store does not take this row: {sentence(error)}")
    return Refusal(STORE_UNAVAILABLE, sentence(error))
