'use strict'
// What harness.py tells a Node driver program: where the pooler is, and where the server itself.

const assert = require('node:assert/strict')
const { Client } = require('pg')

const environment = (name) => {
  assert.ok(process.env[name] !== undefined, `${name} is not set; run this by harness.py`)
  return process.env[name]
}

// The pooler; PostgreSQL itself when the harness runs with --direct.
const pooler = {
  host: environment('BEZEL_TEST_HOST'),
  port: Number(environment('BEZEL_TEST_PORT')),
  database: environment('BEZEL_TEST_DATABASE'),
  user: environment('BEZEL_TEST_USER'),
  password: environment('BEZEL_TEST_PASSWORD'),
}

// The server behind it, as superuser: for looking only.
const server = {
  ...pooler,
  port: Number(environment('BEZEL_TEST_SERVER_PORT')),
  user: environment('BEZEL_TEST_OBSERVER'),
  password: environment('BEZEL_TEST_OBSERVER_PASSWORD'),
}

const direct = environment('BEZEL_TEST_DIRECT') === '1'
const poolSize = Number(environment('BEZEL_TEST_POOL_SIZE'))
const preparedMax = Number(environment('BEZEL_TEST_PREPARED_MAX'))

// `clients` connections, all open at once, ran transactions on these backends: few when pooled, one each when not.
function assertServersShared(backends, clients) {
  const distinct = new Set(backends).size
  if (direct) {
    assert.equal(distinct, clients)
  } else {
    assert.ok(distinct <= poolSize, `${distinct} servers`)
    assert.ok(distinct > 1, 'only one server was at work')
  }
}

// Two clients met these backends: they must have shared at least one of them when pooled, and none when not.
function assertSharedBetween(one, other) {
  const shared = [...one].some((backend) => other.has(backend))
  assert.equal(shared, !direct, 'servers shared between the two clients')
}

// Resolves once the server is at work on a query that contains the marker.
async function untilRunning(marker) {
  const observer = new Client(server)
  await observer.connect()
  try {
    const query = `SELECT 1 FROM pg_stat_activity WHERE state = 'active' AND query LIKE $1 AND pid <> pg_backend_pid()`
    while ((await observer.query(query, [`%${marker}%`])).rowCount === 0) {
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
  } finally {
    await observer.end()
  }
}

const text = 'Zażółć gęślą jaźń, 你好, 🐘, \u202e, \'"\\ \t\n'
const bytes = Buffer.from(Array.from({ length: 1 << 20 }, (_, n) => n % 256))

module.exports = {
  pooler, direct, poolSize, preparedMax, assertServersShared, assertSharedBetween, untilRunning, text, bytes,
}
