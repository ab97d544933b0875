"""A web application as it is found: FastAPI, SQLAlchemy and psycopg2, one pool. It knows of no proxy.

It sets no application_name, no setting, and writes no comments. A request loads its user, then the user's roles, then
does its work. A save is committed, and an audit row follows in a transaction of its own.
"""

from datetime import datetime, timezone
from typing import Annotated
from uuid import UUID

from fastapi import Depends, FastAPI, Header, HTTPException
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict
from sqlalchemy import BigInteger, ForeignKey, Identity, create_engine, select
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship, sessionmaker


class Base(DeclarativeBase):
    pass


class User(Base):
    __tablename__ = "users"
    id: Mapped[UUID] = mapped_column(primary_key=True)
    email: Mapped[str]
    roles: Mapped[list["UserRole"]] = relationship()


class UserRole(Base):
    __tablename__ = "user_roles"
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"), primary_key=True)
    role: Mapped[str] = mapped_column(primary_key=True)


class Portfolio(Base):
    __tablename__ = "portfolios"
    id: Mapped[UUID] = mapped_column(primary_key=True)
    name: Mapped[str]
    description: Mapped[str]
    saves: Mapped[int]
    updated_at: Mapped[datetime | None]


class Audit(Base):
    __tablename__ = "audit"
    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    user_id: Mapped[UUID]
    portfolio_id: Mapped[UUID]
    what: Mapped[str]


class Form(BaseModel):
    """What the page sends back: every field, changed or not."""

    model_config = ConfigDict(from_attributes=True)
    name: str
    description: str
    saves: int


def create_app(url: str, pool_size: int = 5) -> FastAPI:
    app = FastAPI()
    app.state.engine = create_engine(url, pool_pre_ping=True, pool_size=pool_size, max_overflow=0)
    make_session = sessionmaker(app.state.engine)

    def database():
        with make_session() as session:
            yield session

    Database = Annotated[Session, Depends(database)]

    def current_user(session: Database, x_user: Annotated[UUID, Header()]) -> User:
        user = session.scalar(select(User).where(User.id == x_user))
        if user is None or "editor" not in [role.role for role in user.roles]:
            raise HTTPException(403)
        return user

    CurrentUser = Annotated[User, Depends(current_user)]

    @app.exception_handler(OperationalError)
    def database_trouble(request, error):
        return JSONResponse({"detail": "The database is not available"}, status_code=503)

    @app.exception_handler(Exception)
    def trouble(request, error):
        return JSONResponse({"detail": "Something went wrong"}, status_code=500)

    @app.get("/portfolios/{key}")
    def show(key: UUID, session: Database, user: CurrentUser) -> Form:
        portfolio = session.get(Portfolio, key)
        if portfolio is None:
            raise HTTPException(404)
        return Form.model_validate(portfolio)

    @app.put("/portfolios/{key}")
    def save(key: UUID, form: Form, session: Database, user: CurrentUser) -> Form:
        portfolio = session.get(Portfolio, key)
        if portfolio is None:
            raise HTTPException(404)
        for field, value in form.model_dump().items():
            setattr(portfolio, field, value)
        portfolio.updated_at = datetime.now(timezone.utc)
        session.commit()
        session.add(Audit(user_id=user.id, portfolio_id=key, what="saved"))
        session.commit()
        return Form.model_validate(portfolio)

    return app
