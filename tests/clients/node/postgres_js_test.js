'use strict'
// postgres.js (pipelines everything, prepares everything) through the pooler; run by harness.py.

const assert = require('node:assert/strict')
const { once } = require('node:events')
const { test } = require('node:test')
const { Readable } = require('node:stream')
const { pipeline } = require('node:stream/promises')
const postgres = require('postgres')
const {
  pooler, preparedMax, assertServersShared, assertSharedBetween, untilRunning, text, bytes,
} = require('./endpoint')

const CLIENTS = 20

// The work of a client with `max` connections.
async function withSql(work, changes = {}) {
  const sql = postgres({ ...pooler, max: 1, onnotice: () => {}, ...changes })
  try {
    return await work(sql)
  } finally {
    await sql.end()
  }
}

const rejectsWith = (code, promise) => assert.rejects(promise, (error) => {
  assert.equal(error.code, code)
  return true
})

// The work of many clients, of one connection each, that are all connected at the same time.
async function manyClients(work, changes = {}) {
  const clients = Array.from({ length: CLIENTS }, () => postgres({ ...pooler, max: 1, onnotice: () => {}, ...changes }))
  try {
    await Promise.all(clients.map((sql) => sql`SELECT 1`))
    return await Promise.all(clients.map(work))
  } finally {
    await Promise.all(clients.map((sql) => sql.end()))
  }
}

async function createAccounts(sql) {
  await sql`DROP TABLE IF EXISTS account; CREATE TABLE account (id int PRIMARY KEY, balance int NOT NULL);
    INSERT INTO account SELECT id, 1000 FROM generate_series(1, 10) AS id`.simple()
}

test('login', async () => {
  await withSql(async (sql) => {
    const [row] = await sql`SELECT current_user AS user, current_database() AS database`
    assert.deepEqual({ ...row }, { user: pooler.user, database: pooler.database })
  })
  for (const changes of [{ password: 'wrong' }, { user: 'nobody' }]) {
    await withSql((sql) => rejectsWith('28P01', sql`SELECT 1`), changes)
  }
  await withSql((sql) => rejectsWith('3D000', sql`SELECT 1`), { database: 'no_such_database' })
})

test('commit, rollback and savepoint', () => withSql((sql) => withSql(async (reader) => {
  const balance = async (id) => (await reader`SELECT balance FROM account WHERE id = ${id}`)[0].balance
  await createAccounts(sql)
  await assert.rejects(sql.begin(async (transaction) => {
    await transaction`UPDATE account SET balance = ${1} WHERE id = 1`
    assert.equal(await balance(1), 1000)
    throw new Error('changed my mind')
  }), { message: 'changed my mind' })
  assert.equal(await balance(1), 1000)
  await sql.begin(async (transaction) => {
    await transaction`UPDATE account SET balance = ${2} WHERE id = 2`
    await rejectsWith('23505', transaction.savepoint((inner) => inner`INSERT INTO account VALUES (${1}, 0)`))
    await transaction`UPDATE account SET balance = ${3} WHERE id = 3`
  })
  assert.deepEqual([await balance(2), await balance(3)], [2, 3])
  const level = await sql.begin('ISOLATION LEVEL SERIALIZABLE READ ONLY', (transaction) => transaction`SHOW transaction_isolation`)
  assert.equal(level[0].transaction_isolation, 'serializable')
})))

test('many clients keep one total', async () => {
  await withSql(createAccounts)
  const backends = []
  await manyClients(async (sql, number) => {
    for (let step = 0; step < 20; step++) {
      const [first, second] = [((number + step) % 10) + 1, ((number * 3 + step * 7) % 10) + 1].sort((a, b) => a - b)
      backends.push(await sql.begin(async (transaction) => {
        const [{ backend }] = await transaction`SELECT pg_backend_pid() AS backend`
        await transaction`UPDATE account SET balance = balance - ${7} WHERE id = ${first}`
        await transaction`UPDATE account SET balance = balance + ${7} WHERE id = ${second}`
        const [after] = await transaction`SELECT pg_backend_pid() AS backend, sum(balance)::int AS total FROM account`
        assert.deepEqual({ ...after }, { backend, total: 10000 })
        return backend
      }))
    }
  })
  assertServersShared(backends, CLIENTS)
})

test('prepared statements on many servers', async () => {
  const backends = []
  await manyClients(async (sql, number) => {
    for (let step = 0; step < 50; step++) {
      const [row] = await sql`SELECT ${number}::int + ${step}::int AS total, pg_backend_pid() AS backend`
      assert.equal(row.total, number + step)
      backends.push(row.backend)
    }
  })
  assertServersShared(backends, CLIENTS)
})

test('more statements than fit', () => withSql((first) => withSql(async (second) => {
  for (let round = 0; round < 2; round++) {
    for (let number = 0; number < 3 * preparedMax; number++) {
      for (const sql of [first, second]) {
        const [row] = await sql.unsafe(`SELECT $1::int + ${number} AS sum`, [1], { prepare: true })
        assert.equal(row.sum, number + 1)
      }
    }
  }
})))

test('describe without execute', () => withSql(async (sql) => {
  const description = await sql`SELECT ${1}::int AS a, ${'x'}::text AS b`.describe()
  assert.deepEqual(description.columns.map((column) => column.name), ['a', 'b'])
  await rejectsWith('42P01', sql`SELECT * FROM no_such_table`.describe())
}))

test('without prepared statements', () => withSql(async (sql) => {
  const rows = await Promise.all(Array.from({ length: 100 }, (_, n) => sql`SELECT ${n}::int AS n`))
  assert.deepEqual(rows.map(([{ n }]) => n), Array.from({ length: 100 }, (_, n) => n))
}, { prepare: false }))

test('COPY in and out', () => withSql(async (sql) => {
  const lines = Array.from({ length: 60000 }, (_, n) => `${n}\t${'grüße-'.repeat(10)}${n}\n`)
  await sql`DROP TABLE IF EXISTS copied; CREATE TABLE copied (id int PRIMARY KEY, text text)`.simple()
  await pipeline(Readable.from(lines), await sql`COPY copied FROM STDIN`.writable())

  // Taken as it flows: for a reader that falls behind near the end the driver may leave its socket paused for ever.
  const parts = []
  const output = await sql`COPY (SELECT * FROM copied ORDER BY id) TO STDOUT`.readable()
  output.on('data', (part) => parts.push(Buffer.from(part)))
  await once(output, 'end')
  assert.equal(Buffer.concat(parts).toString(), lines.join(''))

  // The driver tells a failed COPY by its stream's error, if it fails before the end, and then sends a CopyFail for
  // which nobody waits any more, as it does after each COPY that went well.
  const broken = await sql`COPY copied FROM STDIN`.writable()
  const failed = once(broken, 'error')
  broken.write('not a number\tx\n')
  broken.write('100000\ty\n'.repeat(10000))
  assert.equal((await failed)[0].code, '22P02')
  assert.equal((await sql`SELECT count(*)::int AS count FROM copied`)[0].count, lines.length)
}))

test('cursor', () => withSql((sql) => withSql(async (neighbour) => {
  let expected = 1
  const backends = new Set()
  for await (const rows of sql`SELECT n, pg_backend_pid() AS backend FROM generate_series(1, ${1000}::int) AS n`.cursor(70)) {
    for (const { n, backend } of rows) {
      assert.equal(n, expected++)
      backends.add(backend)
    }
    assert.equal((await neighbour`SELECT ${expected}::int AS n`)[0].n, expected)
  }
  assert.equal(expected, 1001)
  assert.equal(backends.size, 1)
  await sql.begin(async (transaction) => {
    let seen = 0
    await transaction`SELECT n FROM generate_series(1, 100) AS n`.cursor(30, (rows) => {
      seen += rows.length
      return seen >= 60 ? sql.CLOSE : undefined
    })
    assert.equal(seen, 60)
    assert.equal((await transaction`SELECT 1 AS one`)[0].one, 1)
  })
  let rows = 0
  await sql`SELECT n FROM generate_series(1, 5000) AS n`.forEach(() => rows++)
  assert.equal(rows, 5000)
})))

test('cancel hits its own query alone', () => withSql(async (sleeper) => {
  let stop = false
  const neighbours = Promise.all(Array.from({ length: 8 }, (_, number) => withSql(async (sql) => {
    let queries = 0
    for (; !stop; queries++) assert.equal((await sql`SELECT ${number}::int + 1 AS n`)[0].n, number + 1)
    return queries
  })))
  try {
    for (let round = 0; round < 5; round++) {
      const marker = `postgres.js cancel ${round}`
      const sleep = sleeper.unsafe(`SELECT pg_sleep(60) /* ${marker} */`)
      const failed = rejectsWith('57014', sleep)
      await untilRunning(marker)
      sleep.cancel()
      await failed
      assert.equal((await sleeper`SELECT 42 AS n`)[0].n, 42)
    }
  } finally {
    stop = true
  }
  for (const queries of await neighbours) assert.ok(queries > 0)
}))

test('errors leave the connection usable', () => withSql(async (sql) => {
  await sql`DROP TABLE IF EXISTS constrained;
    CREATE TABLE constrained (id int PRIMARY KEY, amount int CONSTRAINT positive CHECK (amount > 0));
    INSERT INTO constrained VALUES (1, 1)`.simple()
  const cases = [
    ['42601', () => sql`SELEC 1`],
    ['42P01', () => sql`SELECT * FROM no_such_table`],
    ['22012', () => sql`SELECT 1 / ${0}::int`],
    ['22P02', () => sql`SELECT ${'x'}::text::int`],
    ['23505', () => sql`INSERT INTO constrained VALUES (${1}, 1)`],
    ['23514', () => sql`INSERT INTO constrained VALUES (2, ${-1})`],
    ['22012', () => sql`CREATE TABLE never (); SELECT 1/0`.simple()],
    ['42P01', () => sql`SELECT * FROM never`],
  ]
  for (let round = 0; round < 2; round++) {
    for (const [code, query] of cases) {
      await rejectsWith(code, query())
      assert.equal((await sql`SELECT 1 AS one`)[0].one, 1)
    }
  }
  await assert.rejects(sql`INSERT INTO constrained VALUES (3, 0)`, { constraint_name: 'positive', table_name: 'constrained' })
  await rejectsWith('22012', sql.begin(async (transaction) => { // with the first error, caught or not
    await rejectsWith('22012', transaction`SELECT 1/0`)
    await rejectsWith('25P02', transaction`SELECT 1`)
  }))
  assert.equal((await sql`SELECT 1 AS one`)[0].one, 1)
}))

test('pipelined queries, some of which fail', () => withSql(async (sql) => {
  const numbers = Array.from({ length: 1000 }, (_, n) => n)
  const settled = await Promise.allSettled(numbers.map((n) => (n % 100 === 50
    ? sql`SELECT 1 / ${0}::int AS n`
    : sql`SELECT ${n}::int AS n, repeat('x', ${n % 60}::int) AS filler`)))
  settled.forEach((result, n) => {
    if (n % 100 === 50) assert.equal(result.reason.code, '22012')
    else assert.deepEqual({ ...result.value[0] }, { n, filler: 'x'.repeat(n % 60) })
  })
}))

test('pipelines inside transactions of many clients', () => manyClients(async (sql, number) => {
  for (let round = 0; round < 5; round++) {
    const [before, ...sums] = await sql.begin((transaction) => [
      transaction`SELECT pg_backend_pid() AS n`,
      ...Array.from({ length: 20 }, (_, n) => transaction`SELECT ${number}::int * ${n}::int AS n`),
      transaction`SELECT pg_backend_pid() AS n`,
    ])
    assert.equal(sums.pop()[0].n, before[0].n)
    assert.deepEqual(sums.map(([{ n }]) => n), Array.from({ length: 20 }, (_, n) => number * n))
  }
}))

test('unicode, bytes and large values', () => withSql(async (sql) => {
  const [row] = await sql`SELECT ${text}::text AS text, ${bytes}::bytea AS bytes, ARRAY[1, 2, 3] AS list`
  assert.equal(row.text, text)
  assert.ok(row.bytes.equals(bytes))
  assert.deepEqual(row.list, [1, 2, 3])
  const [large] = await sql`SELECT repeat('x', 20000000) AS text`
  assert.equal(large.text.length, 20000000)
  const rows = await sql`SELECT n, md5(n::text) FROM generate_series(1, 100000) AS n`
  assert.equal(rows.reduce((sum, { n }) => sum + n, 0), 5000050000)
}))

test('notices', async () => {
  const heard = []
  await withSql((loud) => withSql(async (quiet) => {
    for (let number = 0; number < 10; number++) {
      await loud.unsafe(`DO $$ BEGIN RAISE NOTICE 'notice ${number}'; END $$`)
      await quiet`SELECT 1`
    }
  }, { onnotice: (notice) => heard.push(`at the wrong client: ${notice.message}`) }),
  { onnotice: (notice) => heard.push(notice.message) })
  assert.deepEqual(heard, Array.from({ length: 10 }, (_, n) => `notice ${n}`))
})

test('startup settings belong to their client', async () => {
  const settings = {
    left: { application_name: 'left', search_path: 'left_side', TimeZone: 'Asia/Tokyo', work_mem: '3MB' },
    right: { application_name: 'right', search_path: 'right_side', TimeZone: 'America/New_York', work_mem: '7MB' },
  }
  const met = { left: new Set(), right: new Set() }
  const look = async (side, sql) => {
    const [{ backend, ...row }] = await sql`SELECT current_setting('application_name') AS application_name,
      current_setting('search_path') AS search_path, current_setting('TimeZone') AS "TimeZone",
      current_setting('work_mem') AS work_mem, pg_backend_pid() AS backend`
    met[side].add(backend)
    assert.deepEqual(row, settings[side])
    assert.equal(sql.parameters.TimeZone, settings[side].TimeZone)
  }
  await withSql((left) => withSql(async (right) => {
    for (let round = 0; round < 10; round++) {
      await look('left', left)
      await look('right', right)
    }
  }, { connection: settings.right }), { connection: settings.left })
  assertSharedBetween(met.left, met.right)
})

test("the driver's own pool", () => withSql(async (sql) => {
  const answers = await Promise.all(Array.from({ length: 1000 }, (_, n) => sql`SELECT ${n}::int AS n`))
  assert.deepEqual(answers.map(([{ n }]) => n), Array.from({ length: 1000 }, (_, n) => n))
}, { max: CLIENTS }))
