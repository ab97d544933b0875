-- The database that every test starts from. It holds every key type that the proxy compares, rows in a known
-- state, and the objects that make a write touch no row for a reason of their own.
create role app login;
create role pw_plain login password 'open sesame';
set password_encryption = 'md5';
create role pw_md5 login password 'open sesame';
set password_encryption = 'scram-sha-256';
create role pw_scram login password 'open sesame';

create table portfolios (
    id uuid primary key,
    name text not null,
    notes text,
    updated_at timestamp,
    version integer not null default 1
);
insert into portfolios (id, name) values
    ('2531439d-3075-46d6-9c19-63e3342fc43e', 'North'),
    ('051e3dcf-81ba-49f2-8daa-110ed693f2b6', 'South');

create table programs (
    id smallint primary key,
    name text not null,
    version integer not null default 1
);
insert into programs (id, name) values (1, 'one'), (2, 'two');

create table projects (
    id integer primary key,
    portfolio_id uuid references portfolios,
    name varchar(200),
    budget numeric(12, 2),
    status text default 'open',
    updated_at timestamp,
    version integer not null default 1
);
insert into projects (id, portfolio_id, name, budget)
select i, '2531439d-3075-46d6-9c19-63e3342fc43e', 'project ' || i, 100 * i
from generate_series(1, 9) i;

create table resources (
    id bigint primary key,
    name text not null,
    version integer not null default 1
);
insert into resources (id, name) values (1, 'small'), (9007199254740993, 'big');

create table rates (
    code text primary key,
    amount integer not null,
    version integer not null default 1
);
insert into rates (code, amount) values ('day', 100), ('it''s', 200), ('', 300), (E'back\\slash', 400), ('größe', 500);

create table worker_types (
    code varchar(40) primary key,
    name text not null,
    version integer not null default 1
);
insert into worker_types (code, name) values ('dev', 'developer'), ('ops', 'operator');

create table users (
    id integer primary key,
    email text not null,
    password_hash text not null,
    version integer not null default 1
);
insert into users (id, email, password_hash) values
    (1, 'ada@example.org', 'argon2-SECRET-ONE'),
    (2, 'bob@example.org', 'argon2-SECRET-TWO');

create table user_roles (
    user_id integer not null,
    role_id text not null,
    granted_by text,
    version integer not null default 1,
    primary key (user_id, role_id)
);
insert into user_roles (user_id, role_id, granted_by) values (1, 'admin', 'root'), (1, 'reader', 'root'), (2, 'admin', 'ada');

-- Rows that a BEFORE trigger keeps from being written.
create table project_phases (
    id integer primary key,
    name text not null,
    frozen boolean not null default false,
    version integer not null default 1
);
insert into project_phases (id, name, frozen) values (1, 'plan', false), (2, 'build', true);
create function keep_frozen() returns trigger language plpgsql as
$$ begin if old.frozen then return null; end if; return new; end $$;
create trigger keep_frozen before update on project_phases for each row execute function keep_frozen();

-- Rows that a policy lets a role see but not write.
create table resource_assignments (
    id integer primary key,
    owner text not null,
    share integer not null,
    version integer not null default 1
);
insert into resource_assignments (id, owner, share) values (1, 'app', 50), (2, 'boss', 50);
alter table resource_assignments enable row level security;
create policy read_all on resource_assignments for select using (true);
create policy write_own on resource_assignments for update using (owner = current_user);

-- Business columns that only happen to be called "version".
create table actuals (
    id integer primary key,
    note text,
    version text not null default 'draft'
);
insert into actuals (id, note) values (1, 'a');
create table workers (
    id integer primary key,
    name text,
    version integer
);
insert into workers (id, name, version) values (1, 'w', 7);
create table scope_assignments (
    id integer primary key,
    name text,
    version integer not null default 0
);
insert into scope_assignments (id, name) values (1, 's');

create view project_names as select name from projects;

-- A table that the proxy does not know.
create table notes (
    id integer primary key,
    body text
);
insert into notes (id, body) values (1, 'hello'), (2, 'world'), (3, null);

grant select, insert, update, delete on all tables in schema public to app, pw_plain, pw_md5, pw_scram;
