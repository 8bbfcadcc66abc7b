'use strict'
// node-postgres (pg), with pg-cursor, pg-query-stream and pg-copy-streams, through the pooler; run by harness.py.

const assert = require('node:assert/strict')
const { test } = require('node:test')
const { Readable } = require('node:stream')
const { pipeline } = require('node:stream/promises')
const { Client, Pool, Query } = require('pg')
const Cursor = require('pg-cursor')
const QueryStream = require('pg-query-stream')
const copyStreams = require('pg-copy-streams')
const {
  pooler, direct, preparedMax, assertServersShared, assertSharedBetween, untilRunning, text, bytes,
} = require('./endpoint')

const CLIENTS = 20

async function withClient(work, changes = {}) {
  const client = new Client({ ...pooler, ...changes })
  await client.connect()
  try {
    return await work(client)
  } finally {
    await client.end()
  }
}

async function one(client, query, values) {
  const { rows } = await client.query({ text: query, values, rowMode: 'array' })
  return rows[0][0]
}

const rejectsWith = (code, promise) => assert.rejects(promise, (error) => {
  assert.equal(error.code, code)
  return true
})

// The work of many clients that are all connected at the same time.
async function manyClients(work, changes = {}) {
  const clients = Array.from({ length: CLIENTS }, () => new Client({ ...pooler, ...changes }))
  await Promise.all(clients.map((client) => client.connect()))
  try {
    return await Promise.all(clients.map(work))
  } finally {
    await Promise.all(clients.map((client) => client.end()))
  }
}

async function createAccounts(client) {
  await client.query(`DROP TABLE IF EXISTS account; CREATE TABLE account (id int PRIMARY KEY, balance int NOT NULL);
    INSERT INTO account SELECT id, 1000 FROM generate_series(1, 10) AS id`)
}

test('login', async () => {
  await withClient(async (client) => {
    assert.equal(await one(client, 'SELECT current_user'), pooler.user)
    assert.equal(await one(client, 'SELECT current_database()'), pooler.database)
  })
  for (const changes of [{ password: 'wrong' }, { user: 'nobody' }]) {
    await rejectsWith('28P01', withClient(() => assert.fail('logged in'), changes))
  }
  await rejectsWith('3D000', withClient(() => assert.fail('logged in'), { database: 'no_such_database' }))
})

test('commit, rollback and savepoint', () => withClient((writer) => withClient(async (reader) => {
  const balance = (id) => one(reader, 'SELECT balance FROM account WHERE id = $1', [id])
  await createAccounts(writer)
  await writer.query('BEGIN')
  await writer.query('UPDATE account SET balance = $1 WHERE id = $2', [1, 1])
  assert.equal(await balance(1), 1000)
  await writer.query('ROLLBACK')
  assert.equal(await balance(1), 1000)
  await writer.query('BEGIN')
  await writer.query('UPDATE account SET balance = $1 WHERE id = $2', [2, 2])
  await writer.query('SAVEPOINT before')
  await rejectsWith('23505', writer.query('INSERT INTO account VALUES ($1, 0)', [1]))
  await writer.query('ROLLBACK TO before')
  await writer.query('COMMIT')
  assert.equal(await balance(2), 2)
})))

test('many clients keep one total', async () => {
  await withClient(createAccounts)
  const backends = []
  await manyClients(async (client, number) => {
    for (let step = 0; step < 20; step++) {
      const [first, second] = [((number + step) % 10) + 1, ((number * 3 + step * 7) % 10) + 1].sort((a, b) => a - b)
      await client.query('BEGIN')
      const backend = await one(client, 'SELECT pg_backend_pid()')
      await client.query({ name: 'take', text: 'UPDATE account SET balance = balance - $2 WHERE id = $1', values: [first, 7] })
      await client.query({ name: 'give', text: 'UPDATE account SET balance = balance + $2 WHERE id = $1', values: [second, 7] })
      assert.equal(await one(client, 'SELECT sum(balance)::int FROM account'), 10000)
      assert.equal(await one(client, 'SELECT pg_backend_pid()'), backend)
      await client.query(step % 3 === 0 ? 'ROLLBACK' : 'COMMIT')
      backends.push(backend)
    }
  })
  assertServersShared(backends, CLIENTS)
})

test('named statements on many servers', async () => {
  const backends = []
  await manyClients(async (client, number) => {
    for (let step = 0; step < 50; step++) {
      // The same name stands for another text at each second client.
      const { rows } = await client.query({
        name: 'sum', text: `SELECT $1::int + $2::int + ${number % 2} AS total, pg_backend_pid() AS backend`, values: [number, step],
      })
      assert.equal(rows[0].total, number + step + (number % 2))
      backends.push(rows[0].backend)
    }
  })
  assertServersShared(backends, CLIENTS)
})

test('more statements than fit', () => withClient((first) => withClient(async (second) => {
  for (let round = 0; round < 2; round++) {
    for (let number = 0; number < 3 * preparedMax; number++) {
      for (const client of [first, second]) {
        const { rows } = await client.query({ name: `s${number}`, text: `SELECT $1::int + ${number} AS sum`, values: [1] })
        assert.equal(rows[0].sum, number + 1)
      }
    }
  }
})))

test('a named statement that fails', () => withClient(async (client) => {
  for (let round = 0; round < 3; round++) {
    await rejectsWith('42703', client.query({ name: `broken${round}`, text: 'SELECT no_such_column + $1', values: [1] }))
    await rejectsWith('22012', client.query({ name: 'divide', text: 'SELECT 8 / $1::int AS part', values: [0] }))
    const { rows } = await client.query({ name: 'divide', text: 'SELECT 8 / $1::int AS part', values: [2] })
    assert.equal(rows[0].part, 4)
  }
}))

test('COPY in and out', () => withClient(async (client) => {
  const lines = Array.from({ length: 60000 }, (_, n) => `${n}\t${'grüße-'.repeat(10)}${n}\n`)
  await client.query('DROP TABLE IF EXISTS copied; CREATE TABLE copied (id int PRIMARY KEY, text text)')
  const into = client.query(copyStreams.from('COPY copied FROM STDIN'))
  await pipeline(Readable.from(lines), into)
  assert.equal(into.rowCount, lines.length)
  const parts = []
  for await (const part of client.query(copyStreams.to('COPY (SELECT * FROM copied ORDER BY id) TO STDOUT'))) parts.push(part)
  assert.equal(Buffer.concat(parts).toString(), lines.join(''))

  await assert.rejects(pipeline(Readable.from(['7\tagain\n']), client.query(copyStreams.from('COPY copied FROM STDIN'))),
    { code: '23505' })
  assert.equal(await one(client, 'SELECT count(*)::int FROM copied'), lines.length)

  async function* breaks() {
    yield '100000\tone\n'
    throw new Error('the source broke')
  }
  await assert.rejects(pipeline(Readable.from(breaks()), client.query(copyStreams.from('COPY copied FROM STDIN'))),
    { message: 'the source broke' })
  assert.equal(await one(client, 'SELECT count(*)::int FROM copied'), lines.length)
}))

test('cursor and stream inside a transaction', () => withClient((client) => withClient(async (neighbour) => {
  await client.query('BEGIN')
  const cursor = client.query(new Cursor('SELECT n FROM generate_series(1, $1::int) AS n', [1000]))
  let expected = 1
  for (;;) {
    const rows = await cursor.read(70)
    if (rows.length === 0) break
    for (const { n } of rows) assert.equal(n, expected++)
    assert.equal(await one(neighbour, 'SELECT $1::int', [expected]), expected)
  }
  assert.equal(expected, 1001)
  await cursor.close()
  const half = client.query(new Cursor('SELECT n FROM generate_series(1, 1000) AS n'))
  assert.equal((await half.read(10)).length, 10)
  await half.close() // with rows left
  let sum = 0
  for await (const { n } of client.query(new QueryStream('SELECT n FROM generate_series(1, 2000) AS n', [], { batchSize: 90 }))) sum += n
  assert.equal(sum, 2001000)
  await client.query('COMMIT')
  assert.equal(await one(client, 'SELECT 1'), 1)
})))

test('a cursor outside a transaction keeps its server until it is done', () => withClient(async (client) => {
  const cursor = client.query(new Cursor('SELECT n, pg_backend_pid() AS backend FROM generate_series(1, 300) AS n'))
  const others = manyClients((other) => one(other, 'SELECT pg_backend_pid()'))
  const rows = []
  for (;;) {
    const some = await cursor.read(50)
    if (some.length === 0) break
    rows.push(...some)
  }
  await cursor.close()
  await others
  assert.equal(rows.length, 300)
  assert.equal(new Set(rows.map((row) => row.backend)).size, 1)
}))

test('cancel hits its own query alone', () => withClient(async (sleeper) => {
  let stop = false
  const neighbours = Promise.all(Array.from({ length: 8 }, (_, number) => withClient(async (client) => {
    let queries = 0
    for (; !stop; queries++) assert.equal(await one(client, 'SELECT $1::int + 1', [number]), number + 1)
    return queries
  })))
  try {
    for (let round = 0; round < 5; round++) {
      const marker = `pg cancel ${round}`
      const sleep = new Query(`SELECT pg_sleep(60) /* ${marker} */`)
      const failed = new Promise((resolve, reject) => sleep.on('error', resolve).on('end', () => reject(new Error('slept'))))
      sleeper.query(sleep)
      await untilRunning(marker)
      const messenger = new Client(pooler)
      messenger.connection.on('error', () => {}) // the other side closes it
      messenger.cancel(sleeper, sleep)
      assert.equal((await failed).code, '57014')
      assert.equal(await one(sleeper, 'SELECT 42'), 42)
    }
  } finally {
    stop = true
  }
  for (const queries of await neighbours) assert.ok(queries > 0)
}))

test('statement_timeout belongs to its client', () => withClient((impatient) => withClient(async (patient) => {
  for (let round = 0; round < 3; round++) {
    await rejectsWith('57014', impatient.query('SELECT pg_sleep(60)'))
    assert.equal(await one(impatient, 'SHOW statement_timeout'), '100ms')
    assert.equal(await one(patient, 'SHOW statement_timeout'), '0')
  }
}), { statement_timeout: 100 }))

test('errors leave the connection usable', () => withClient(async (client) => {
  await client.query(`DROP TABLE IF EXISTS constrained;
    CREATE TABLE constrained (id int PRIMARY KEY, amount int CONSTRAINT positive CHECK (amount > 0));
    INSERT INTO constrained VALUES (1, 1)`)
  const cases = [
    ['SELEC 1', [], '42601'],
    ['SELECT * FROM no_such_table', [], '42P01'],
    ['SELECT 1 / $1::int', [0], '22012'],
    ['SELECT $1::int', ['x'], '22P02'],
    ['INSERT INTO constrained VALUES ($1, 1)', [1], '23505'],
    ['INSERT INTO constrained VALUES (2, $1)', [-1], '23514'],
  ]
  for (const [query, values, code] of cases) {
    await rejectsWith(code, client.query(query, values))
    assert.equal(await one(client, 'SELECT 1'), 1)
  }
  await assert.rejects(client.query('INSERT INTO constrained VALUES (3, 0)'), { constraint: 'positive', table: 'constrained' })
  await client.query('BEGIN')
  await rejectsWith('22012', client.query('SELECT 1/0'))
  await rejectsWith('25P02', client.query('SELECT 1'))
  await client.query('ROLLBACK')
  await rejectsWith('22012', client.query('CREATE TABLE never (); SELECT 1/0')) // one message, one transaction
  await rejectsWith('42P01', client.query('SELECT * FROM never'))
}))

test('pipelined queries', async () => {
  await withClient(async (client) => {
    const numbers = Array.from({ length: 500 }, (_, n) => n)
    const sums = await Promise.all(numbers.map((n) => client.query(
      { name: `sum${n % 5}`, text: `SELECT $1::int + ${n % 5} AS sum`, values: [n] })))
    assert.deepEqual(sums.map(({ rows }) => rows[0].sum), numbers.map((n) => n + (n % 5)))

    const settled = await Promise.allSettled(numbers.map((n) => client.query('SELECT 100 / $1::int AS part', [n % 10])))
    settled.forEach((result, n) => {
      if (n % 10 === 0) assert.equal(result.reason.code, '22012')
      else assert.equal(result.value.rows[0].part, Math.floor(100 / (n % 10)))
    })

    const transaction = ['BEGIN', 'CREATE TEMP TABLE gone (n int) ON COMMIT DROP', 'INSERT INTO gone VALUES (1), (2)',
      'SELECT count(*)::int AS count FROM gone', 'COMMIT', 'SELECT 1 AS one']
    const results = await Promise.all(transaction.map((query) => client.query(query)))
    assert.equal(results[3].rows[0].count, 2)
    assert.equal(results[5].rows[0].one, 1)
  }, { pipeline: true })
  await manyClients(async (client, number) => {
    const results = await Promise.all(Array.from({ length: 40 }, (_, n) => client.query('SELECT $1::int AS n', [number * 100 + n])))
    assert.deepEqual(results.map(({ rows }) => rows[0].n), Array.from({ length: 40 }, (_, n) => number * 100 + n))
  }, { pipeline: true })
})

test('unicode, bytes and large values', () => withClient(async (client) => {
  const { rows: [row] } = await client.query('SELECT $1::text AS text, $2::bytea AS bytes', [text, bytes])
  assert.equal(row.text, text)
  assert.ok(row.bytes.equals(bytes))
  const { rows: [binary] } = await client.query({
    text: 'SELECT 7::int AS i, 2.5::float8 AS f, $1::text AS text', values: [text], binary: true,
  })
  assert.deepEqual(binary, { i: 7, f: 2.5, text })
  assert.equal((await one(client, "SELECT repeat('x', 20000000)")).length, 20000000)
  const { rows } = await client.query('SELECT n, md5(n::text) FROM generate_series(1, 100000) AS n')
  assert.equal(rows.reduce((sum, { n }) => sum + n, 0), 5000050000)
}))

test('notices', () => withClient((loud) => withClient(async (quiet) => {
  const heard = []
  loud.on('notice', (notice) => heard.push(notice.message))
  quiet.on('notice', (notice) => assert.fail(notice.message))
  for (let number = 0; number < 10; number++) {
    await loud.query(`DO $$ BEGIN RAISE NOTICE 'notice ${number}'; END $$`)
    await quiet.query('SELECT 1')
  }
  assert.deepEqual(heard, Array.from({ length: 10 }, (_, n) => `notice ${n}`))
})))

test('startup settings belong to their client', async () => {
  const settings = {
    left: ['left', 'left_side', 'Asia/Tokyo', '3MB'],
    right: ['right', 'right_side', 'America/New_York', '7MB'],
  }
  const options = ([name, schema, zone, memory]) => ({
    application_name: name, options: `-c search_path=${schema} -c TimeZone=${zone} -c work_mem=${memory}`,
  })
  const met = { left: new Set(), right: new Set() }
  const look = async (side, client) => {
    const { rows: [row] } = await client.query({
      name: 'settings', rowMode: 'array',
      text: `SELECT current_setting('application_name'), current_setting('search_path'), current_setting('TimeZone'),
        current_setting('work_mem'), pg_backend_pid()`,
    })
    met[side].add(row.pop())
    assert.deepEqual(row, settings[side])
  }
  await withClient((left) => withClient(async (right) => {
    for (let round = 0; round < 10; round++) {
      await look('left', left)
      await look('right', right)
    }
  }, options(settings.right)), options(settings.left))
  assertSharedBetween(met.left, met.right)
})

test("the driver's own pool", async () => {
  const pool = new Pool({ ...pooler, max: CLIENTS })
  const answers = await Promise.all(Array.from({ length: 500 }, (_, n) => pool.query('SELECT $1::int AS n', [n])))
  assert.deepEqual(answers.map(({ rows }) => rows[0].n), Array.from({ length: 500 }, (_, n) => n))
  await pool.end()
})

test('a server that is lost in a transaction', { skip: direct && 'a direct connection ends with it' }, async () => {
  await withClient((client) => withClient(async (other) => {
    for (const end of ['ROLLBACK', 'COMMIT', 'ROLLBACK']) {
      await client.query('BEGIN')
      const backend = await one(client, 'SELECT pg_backend_pid()')
      await other.query('SELECT pg_terminate_backend($1, 5000)', [backend])
      await rejectsWith('57P01', client.query({ name: 'lost', text: 'SELECT $1::int', values: [1] }))
      await rejectsWith('25P02', client.query('SELECT 1'))
      assert.equal((await client.query(end)).command, 'ROLLBACK')
      assert.equal(await one(client, 'SELECT $1::int', [2]), 2)
    }
  }))
})
