-- A small resource planner: the thirteen tables an application of this kind keeps, with the keys, checks and
-- triggers such applications have, and a few years of made-up data. Every value is computed from a row number,
-- so two runs hold the same rows under the same keys. There is no version column: the migration adds it.

CREATE FUNCTION planner_key(entity text, n bigint) RETURNS uuid
    LANGUAGE sql IMMUTABLE AS $$ SELECT md5(entity || '/' || n)::uuid $$;

CREATE FUNCTION touch_updated_at() RETURNS trigger
    LANGUAGE plpgsql AS $$
BEGIN
    NEW.updated_at := clock_timestamp();
    RETURN NEW;
END $$;

CREATE TABLE users (
    id            uuid PRIMARY KEY,
    email         text NOT NULL UNIQUE,
    display_name  text NOT NULL,
    password_hash text NOT NULL,
    active        boolean NOT NULL DEFAULT true,
    last_login    timestamptz,
    created_at    timestamptz NOT NULL DEFAULT now(),
    updated_at    timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE user_roles (
    user_id    uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    role       text NOT NULL CHECK (role IN ('admin', 'portfolio_manager', 'project_manager', 'planner', 'viewer')),
    granted_by uuid REFERENCES users,
    note       text NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (user_id, role)
);

CREATE TABLE portfolios (
    id         uuid PRIMARY KEY,
    code       text NOT NULL UNIQUE,
    name       text NOT NULL,
    owner_id   uuid NOT NULL REFERENCES users,
    budget     numeric(14, 2) NOT NULL CHECK (budget >= 0),
    currency   char(3) NOT NULL DEFAULT 'EUR',
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE programs (
    id           uuid PRIMARY KEY,
    portfolio_id uuid NOT NULL REFERENCES portfolios ON DELETE CASCADE,
    code         text NOT NULL UNIQUE,
    name         text NOT NULL,
    goal         text NOT NULL DEFAULT '',
    created_at   timestamptz NOT NULL DEFAULT now(),
    updated_at   timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE projects (
    id           uuid PRIMARY KEY,
    portfolio_id uuid NOT NULL REFERENCES portfolios,
    program_id   uuid REFERENCES programs ON DELETE SET NULL,
    code         text NOT NULL UNIQUE,
    name         text NOT NULL,
    status       text NOT NULL DEFAULT 'draft'
                 CHECK (status IN ('draft', 'approved', 'running', 'on_hold', 'closed')),
    priority     smallint NOT NULL DEFAULT 3 CHECK (priority BETWEEN 1 AND 5),
    budget       numeric(14, 2) NOT NULL CHECK (budget >= 0),
    starts_on    date NOT NULL,
    ends_on      date NOT NULL,
    tags         text[] NOT NULL DEFAULT '{}',
    settings     jsonb NOT NULL DEFAULT '{}',
    created_at   timestamptz NOT NULL DEFAULT now(),
    updated_at   timestamptz NOT NULL DEFAULT now(),
    CHECK (ends_on >= starts_on)
);

CREATE TABLE project_phases (
    id           uuid PRIMARY KEY,
    project_id   uuid NOT NULL REFERENCES projects ON DELETE CASCADE,
    position     integer NOT NULL,
    name         text NOT NULL,
    booked_hours integer NOT NULL DEFAULT 0 CHECK (booked_hours >= 0),
    starts_on    date NOT NULL,
    ends_on      date NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    updated_at   timestamptz NOT NULL DEFAULT now(),
    UNIQUE (project_id, position)
);

CREATE TABLE worker_types (
    id         uuid PRIMARY KEY,
    code       text NOT NULL UNIQUE,
    name       text NOT NULL,
    external   boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE workers (
    id             uuid PRIMARY KEY,
    worker_type_id uuid NOT NULL REFERENCES worker_types,
    user_id        uuid UNIQUE REFERENCES users ON DELETE SET NULL,
    personnel_no   text NOT NULL UNIQUE,
    full_name      text NOT NULL,
    hired_on       date NOT NULL,
    created_at     timestamptz NOT NULL DEFAULT now(),
    updated_at     timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE resources (
    id             uuid PRIMARY KEY,
    worker_id      uuid REFERENCES workers ON DELETE CASCADE,
    code           text NOT NULL UNIQUE,
    kind           text NOT NULL CHECK (kind IN ('person', 'machine', 'room')),
    capacity_hours integer NOT NULL DEFAULT 160,
    created_at     timestamptz NOT NULL DEFAULT now(),
    updated_at     timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE resource_assignments (
    id            uuid PRIMARY KEY,
    resource_id   uuid NOT NULL REFERENCES resources ON DELETE CASCADE,
    phase_id      uuid NOT NULL REFERENCES project_phases ON DELETE CASCADE,
    planned_hours integer NOT NULL CHECK (planned_hours > 0),
    comment       text,
    created_at    timestamptz NOT NULL DEFAULT now(),
    updated_at    timestamptz NOT NULL DEFAULT now(),
    UNIQUE (resource_id, phase_id)
);

CREATE TABLE rates (
    id           uuid PRIMARY KEY,
    resource_id  uuid NOT NULL REFERENCES resources ON DELETE CASCADE,
    valid_from   date NOT NULL,
    hourly_cents integer NOT NULL CHECK (hourly_cents > 0),
    created_at   timestamptz NOT NULL DEFAULT now(),
    updated_at   timestamptz NOT NULL DEFAULT now(),
    UNIQUE (resource_id, valid_from)
);

CREATE TABLE actuals (
    id            uuid PRIMARY KEY,
    assignment_id uuid NOT NULL REFERENCES resource_assignments ON DELETE CASCADE,
    worked_on     date NOT NULL,
    hours         numeric(5, 2) NOT NULL CHECK (hours > 0),
    approved      boolean NOT NULL DEFAULT false,
    created_at    timestamptz NOT NULL DEFAULT now(),
    updated_at    timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE scope_assignments (
    id           uuid PRIMARY KEY,
    user_id      uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    portfolio_id uuid REFERENCES portfolios ON DELETE CASCADE,
    program_id   uuid REFERENCES programs ON DELETE CASCADE,
    project_id   uuid REFERENCES projects ON DELETE CASCADE,
    may_edit     boolean NOT NULL DEFAULT false,
    created_at   timestamptz NOT NULL DEFAULT now(),
    updated_at   timestamptz NOT NULL DEFAULT now(),
    CHECK (num_nonnulls(portfolio_id, program_id, project_id) = 1)
);

INSERT INTO users (id, email, display_name, password_hash, last_login, created_at, updated_at)
SELECT planner_key('user', n),
       lower(given) || '.' || lower(family) || n || '@planner.example',
       given || ' ' || family,
       '$2b$12$' || left(translate(encode(sha512(convert_to('password/' || n, 'UTF8')), 'base64'), '+=', './'), 53),
       timestamptz '2026-01-05 08:00+00' + n * interval '7 minutes',
       timestamptz '2024-03-01 09:00+00' + n * interval '5 hours',
       timestamptz '2024-03-01 09:00+00' + n * interval '5 hours'
FROM generate_series(1, 150) AS n,
     LATERAL (SELECT (ARRAY['Ada', 'Ben', 'Chiara', 'Deniz', 'Emil', 'Farah', 'Goran', 'Hanna', 'Ines', 'Jonas'])[1 + n % 10],
                     (ARRAY['Abel', 'Brandt', 'Costa', 'Dietz', 'Ek', 'Falk', 'Grau'])[1 + n / 10 % 7]) AS who (given, family);

INSERT INTO user_roles (user_id, role, granted_by)
SELECT planner_key('user', n), roles.role, planner_key('user', 1)
FROM generate_series(1, 150) AS n,
     LATERAL (VALUES ('viewer', true), ('planner', n % 3 = 0), ('project_manager', n % 5 = 0),
                     ('portfolio_manager', n % 12 = 0), ('admin', n = 1)) AS roles (role, granted)
WHERE roles.granted;

INSERT INTO portfolios (id, code, name, owner_id, budget)
SELECT planner_key('portfolio', n), 'PF-' || lpad(n::text, 2, '0'),
       (ARRAY['Grid renewal', 'Customer platform', 'Compliance', 'Rolling stock', 'Data centre', 'New markets'])[1 + n % 6]
           || ' ' || (2024 + n % 3),
       planner_key('user', 12 * n), 1500000 + n * 240000
FROM generate_series(1, 12) AS n;

INSERT INTO programs (id, portfolio_id, code, name, goal)
SELECT planner_key('program', n), planner_key('portfolio', 1 + n % 12), 'PG-' || lpad(n::text, 3, '0'),
       (ARRAY['Foundations', 'Roll-out', 'Consolidation', 'Training', 'Migration'])[1 + n % 5] || ' ' || n,
       'Reach milestone ' || (1 + n % 4) || ' within the year'
FROM generate_series(1, 60) AS n;

INSERT INTO projects (id, portfolio_id, program_id, code, name, status, priority, budget, starts_on, ends_on, tags, settings)
SELECT planner_key('project', n), planner_key('portfolio', 1 + n % 12),
       CASE WHEN n % 7 > 0 THEN planner_key('program', 1 + n % 60) END,
       'PRJ-' || lpad(n::text, 4, '0'),
       (ARRAY['Substation', 'Billing', 'Archive', 'Workshop', 'Portal', 'Depot', 'Ledger'])[1 + n % 7]
           || ' ' || (ARRAY['north', 'south', 'east', 'west'])[1 + n / 7 % 4] || ' ' || n,
       (ARRAY['running', 'running', 'approved', 'draft', 'on_hold', 'closed'])[1 + n % 6],
       1 + n % 5, 20000 + n * 1300,
       date '2024-04-01' + n, date '2024-04-01' + n + 90 + n % 300,
       CASE WHEN n % 4 = 0 THEN ARRAY['capex', 'review'] ELSE ARRAY['opex'] END,
       jsonb_build_object('colour', (ARRAY['teal', 'amber', 'grey'])[1 + n % 3], 'locked', n % 9 = 0)
FROM generate_series(1, 600) AS n;

INSERT INTO project_phases (id, project_id, position, name, booked_hours, starts_on, ends_on)
SELECT planner_key('phase', (n - 1) * 4 + p), planner_key('project', n), p,
       (ARRAY['Plan', 'Build', 'Test', 'Hand over'])[p], (n * 7 + p * 11) % 400,
       date '2024-04-01' + n + (p - 1) * 20, date '2024-04-01' + n + p * 20
FROM generate_series(1, 600) AS n, generate_series(1, 4) AS p;

INSERT INTO worker_types (id, code, name, external)
SELECT planner_key('worker_type', n), code, name, external
FROM (VALUES (1, 'ENG', 'Engineer', false), (2, 'TEC', 'Technician', false), (3, 'PM', 'Project manager', false),
             (4, 'CON', 'Contractor', true), (5, 'AGY', 'Agency worker', true), (6, 'TRN', 'Trainee', false))
     AS t (n, code, name, external);

INSERT INTO workers (id, worker_type_id, user_id, personnel_no, full_name, hired_on)
SELECT planner_key('worker', n), planner_key('worker_type', 1 + n % 6),
       CASE WHEN n <= 150 THEN planner_key('user', n) END,
       'W' || lpad(n::text, 5, '0'),
       (ARRAY['Kim', 'Lea', 'Milo', 'Nora', 'Otto', 'Pia', 'Quirin', 'Rosa'])[1 + n % 8] || ' '
           || (ARRAY['Hartl', 'Ivanov', 'Jung', 'Kaya', 'Lang'])[1 + n / 8 % 5],
       date '2015-01-01' + n * 9
FROM generate_series(1, 400) AS n;

INSERT INTO resources (id, worker_id, code, kind, capacity_hours)
SELECT planner_key('resource', n), CASE WHEN n <= 400 THEN planner_key('worker', n) END, 'RES-' || lpad(n::text, 4, '0'),
       CASE WHEN n <= 400 THEN 'person' WHEN n <= 430 THEN 'machine' ELSE 'room' END, 80 + (n % 3) * 40
FROM generate_series(1, 450) AS n;

INSERT INTO resource_assignments (id, resource_id, phase_id, planned_hours, comment)
SELECT planner_key('assignment', n), planner_key('resource', 1 + n % 450), planner_key('phase', 1 + n * 7 % 2400),
       8 + n % 120, CASE WHEN n % 5 = 0 THEN 'half days only' END
FROM generate_series(1, 3000) AS n;

INSERT INTO rates (id, resource_id, valid_from, hourly_cents)
SELECT planner_key('rate', (n - 1) * 2 + y), planner_key('resource', n), make_date(2023 + y, 1, 1),
       4500 + (n % 40) * 125 + y * 150
FROM generate_series(1, 450) AS n, generate_series(1, 2) AS y;

INSERT INTO actuals (id, assignment_id, worked_on, hours, approved)
SELECT planner_key('actual', n), planner_key('assignment', 1 + n % 3000), date '2024-05-01' + n % 500,
       (1 + n % 16) * 0.5, n % 3 > 0
FROM generate_series(1, 12000) AS n;

INSERT INTO scope_assignments (id, user_id, portfolio_id, program_id, project_id, may_edit)
SELECT planner_key('scope', n), planner_key('user', 1 + n % 150),
       CASE WHEN n % 3 = 0 THEN planner_key('portfolio', 1 + n % 12) END,
       CASE WHEN n % 3 = 1 THEN planner_key('program', 1 + n % 60) END,
       CASE WHEN n % 3 = 2 THEN planner_key('project', 1 + n % 600) END,
       n % 2 = 0
FROM generate_series(1, 400) AS n;

CREATE INDEX ON programs (portfolio_id);
CREATE INDEX ON projects (portfolio_id);
CREATE INDEX ON projects (program_id);
CREATE INDEX ON resource_assignments (phase_id);
CREATE INDEX ON actuals (assignment_id);
CREATE INDEX ON scope_assignments (user_id);

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['users', 'user_roles', 'portfolios', 'programs', 'projects', 'project_phases',
        'worker_types', 'workers', 'resources', 'resource_assignments', 'rates', 'actuals', 'scope_assignments']
    LOOP
        EXECUTE format('CREATE TRIGGER touch BEFORE UPDATE ON %I FOR EACH ROW EXECUTE FUNCTION touch_updated_at()', name);
    END LOOP;
END $$;

ANALYZE users, user_roles, portfolios, programs, projects, project_phases, worker_types, workers, resources,
    resource_assignments, rates, actuals, scope_assignments;
