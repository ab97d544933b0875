// node-postgres with a pool of two connections, in autocommit (`pool.query`). A save reads the row again, then writes.
// Arguments: host, port, database, how the user is told (comment, none), what becomes of the second save.
"use strict";
const assert = require("node:assert/strict");
const { Pool } = require("pg");

const [host, port, database, act, outcome] = process.argv.slice(2);
const pool = new Pool({ host, port: Number(port), database, user: "postgres", max: 2 });
const key = "00000000-0000-4000-8000-000000000001";
let requests = 0;

// Runs one request; every other one finds the first connection busy.
async function request(user, work) {
  const n = ++requests;
  const busy = n % 2 ? await pool.connect() : null;
  const tags = act === "comment" ? ` /*user='${user}',traceparent='${n}'*/` : "";
  try {
    return await work((sql, values) => pool.query(sql + tags, values));
  } finally {
    busy?.release();
  }
}

const show = "SELECT id, name FROM portfolios WHERE id = $1";
const read = (user) => request(user, (query) => query(show, [key]));

const save = (user, name) =>
  request(user, async (query) => {
    try {
      await query(show, [key]);
      const { rowCount } = await query("UPDATE portfolios SET name = $2 WHERE id = $1", [key, name]);
      assert.equal(rowCount, 1);
      return true;
    } catch (error) {
      assert.equal(error.code, "40001", error);
      assert.equal(error.constraint, "portfolios_version_conflict");
      return false;
    }
  });

(async () => {
  await read("ada");
  await read("bob");
  assert.equal(await save("ada", "ada's"), true, "the first save");
  assert.equal(await save("bob", "bob's"), outcome !== "refused", "the second save");
  if (outcome === "refused") {
    assert.equal(await save("bob", "bob's"), false, "a repeat of it");
    await read("bob");
    assert.equal(await save("bob", "bob's"), true, "the save after a refresh");
    assert.equal(await save("bob", "bob's again"), true, "the save behind it");
    assert.equal(await save("ada", "ada's again"), false, "the first user's save, from an old page");
  }
  await pool.end();
})();
