-- The database of the applications: users with a uuid, a table that is protected, and one that is not.
create table users (
    id uuid primary key,
    email text not null unique,
    last_seen timestamptz,
    version integer not null default 1
);
create table user_roles (
    user_id uuid not null references users,
    role text not null,
    version integer not null default 1,
    primary key (user_id, role)
);
create table portfolios (
    id uuid primary key,
    name text not null,
    description text not null default '',
    saves integer not null default 0,
    updated_at timestamptz,
    version integer not null default 1
);
create table audit (
    id bigint generated always as identity primary key,
    user_id uuid not null references users,
    portfolio_id uuid not null references portfolios,
    what text not null
);
insert into users (id, email) values
    ('aaaaaaaa-0000-4000-8000-000000000001', 'ada@example.org'),
    ('bbbbbbbb-0000-4000-8000-000000000002', 'bob@example.org');
insert into user_roles (user_id, role) select id, 'editor' from users;
insert into portfolios (id, name)
    select ('00000000-0000-4000-8000-' || lpad(n::text, 12, '0'))::uuid, 'portfolio ' || n
    from generate_series(1, 20) n;
