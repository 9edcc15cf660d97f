"""What was spent of budgets: the statements of its transactions. Blocking; run in the store's threads."""

from __future__ import annotations

from sqlalchemy import Connection, delete, insert, select, update

from agentproxy.model.budget import Account, Spent
from agentproxy.store.delivery_tables import spending


def read_all(connection: Connection) -> list[Spent]:
    """Return what was spent on every account."""
    rows = connection.execute(select(spending))
    return [Spent(Account(row.subject, row.measure, row.period), row.amount, row.lifted) for row in rows]


def add(connection: Connection, account: Account, amount: int, lifted: int = 0) -> None:
    """Add to what was spent on an account, and to what its limit was lifted by."""
    here = (
        (spending.c.subject == account.subject)
        & (spending.c.measure == account.measure)
        & (spending.c.period == account.period)
    )
    values = {"amount": spending.c.amount + amount, "lifted": spending.c.lifted + lifted}
    if connection.execute(update(spending).where(here).values(values)).rowcount == 0:
        names = {"subject": account.subject, "measure": account.measure, "period": account.period}
        connection.execute(insert(spending), {**names, "amount": amount, "lifted": lifted})


def remove_before(connection: Connection, periods: tuple[str, ...]) -> None:
    """Forget the accounts of other periods than these and ``all``."""
    connection.execute(delete(spending).where(spending.c.period.not_in((*periods, "all"))))
