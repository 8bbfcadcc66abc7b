import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.sql.BatchUpdateException;
import java.sql.Connection;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.SQLWarning;
import java.sql.Savepoint;
import java.sql.Statement;
import java.time.OffsetDateTime;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashSet;
import java.util.List;
import java.util.Random;
import java.util.Set;
import java.util.TimeZone;
import java.util.concurrent.Callable;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.atomic.AtomicBoolean;
import org.postgresql.PGConnection;
import org.postgresql.PGStatement;
import org.postgresql.copy.CopyManager;
import org.postgresql.copy.CopyOut;
import org.postgresql.largeobject.LargeObject;
import org.postgresql.largeobject.LargeObjectManager;
import org.postgresql.util.PSQLException;

/** pgjdbc (extended protocol throughout, server-side prepared statements after some uses) through the pooler. */
public final class PgjdbcTest extends DriverTest {
  public static void main(String[] arguments) throws Exception {
    runAll(PgjdbcTest.class);
  }

  static void createAccounts() throws SQLException {
    try (Connection connection = connect(); Statement statement = connection.createStatement()) {
      statement.execute("DROP TABLE IF EXISTS account; CREATE TABLE account (id int PRIMARY KEY, balance int NOT NULL);"
          + "INSERT INTO account SELECT id, 1000 FROM generate_series(1, 10) AS id");
    }
  }

  @Test
  public void login() throws Exception {
    try (Connection connection = connect()) {
      equal(one(connection, "SELECT current_user"), USER);
      equal(connection.getCatalog(), DATABASE);
      check(connection.getMetaData().getDatabaseMajorVersion() >= 15, "the server's version is wrong");
      check(connection.isValid(10), "the connection is not valid");
    }
    fails("28P01", () -> connect("password", "wrong"));
    fails("28P01", () -> connect("user", "nobody"));
    fails("3D000", () -> connect("PGDBNAME", "no_such_database"));
  }

  @Test
  public void encryption() throws Exception {
    try (Connection connection = connect()) {
      equal(one(connection, "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"), AUTHORITY == null ? "f" : "t");
    }
    if (AUTHORITY == null) {
      return;
    }
    fails("08006", () -> connect("PGHOST", "localhost")); // the certificate is for the address
    fails("28000", () -> connect("sslmode", "disable"));
  }

  @Test
  public void commitRollbackAndSavepoint() throws Exception {
    createAccounts();
    String balance = "SELECT balance FROM account WHERE id = ?";
    try (Connection writer = connect(); Connection reader = connect()) {
      writer.setAutoCommit(false);
      update(writer, "UPDATE account SET balance = 1 WHERE id = ?", 1);
      equal(oneInt(reader, balance, 1), 1000);
      writer.rollback();
      equal(oneInt(reader, balance, 1), 1000);
      update(writer, "UPDATE account SET balance = 2 WHERE id = ?", 2);
      Savepoint savepoint = writer.setSavepoint();
      fails("23505", () -> update(writer, "INSERT INTO account VALUES (?, 0)", 1));
      writer.rollback(savepoint);
      writer.commit();
      equal(oneInt(reader, balance, 2), 2);
    }
  }

  /** The driver begins each transaction READ ONLY then. */
  @Test
  public void readOnlyBelongsToItsConnection() throws Exception {
    createAccounts();
    try (Connection strict = connect(); Connection plain = connect()) {
      strict.setReadOnly(true);
      strict.setAutoCommit(false);
      plain.setAutoCommit(false);
      for (int i = 0; i < 5; i++) {
        equal(one(strict, "SHOW transaction_read_only"), "on");
        fails("25006", () -> update(strict, "DELETE FROM account"));
        strict.rollback();
        equal(update(plain, "UPDATE account SET balance = balance"), 10);
        plain.rollback();
      }
    }
  }

  /** The driver sends SET SESSION CHARACTERISTICS then, which sets a parameter that PostgreSQL does not report. */
  @Test(notCarried = true)
  public void isolationBelongsToItsConnection() throws Exception {
    try (Connection strict = connect(); Connection plain = connect()) {
      strict.setTransactionIsolation(Connection.TRANSACTION_SERIALIZABLE);
      try {
        for (int i = 0; i < 5; i++) {
          equal(one(strict, "SHOW transaction_isolation"), "serializable");
          equal(one(plain, "SHOW transaction_isolation"), "read committed");
        }
      } finally { // on the server that was at hand, or the next tests would meet it
        strict.setTransactionIsolation(Connection.TRANSACTION_READ_COMMITTED);
      }
    }
  }

  @Test
  public void manyClientsKeepOneTotal() throws Exception {
    createAccounts();
    checkServersShared(manyClients((connection, number) -> {
      Set<String> backends = new HashSet<>();
      connection.setAutoCommit(false);
      try (PreparedStatement change = connection.prepareStatement("UPDATE account SET balance = balance + ? WHERE id = ?")) {
        for (int step = 0; step < 20; step++) {
          int[] ids = {(number + step) % 10 + 1, (number * 3 + step * 7) % 10 + 1};
          Arrays.sort(ids);
          String backend = one(connection, "SELECT pg_backend_pid()");
          for (int i = 0; i < 2; i++) {
            change.setInt(1, i == 0 ? 7 : -7);
            change.setInt(2, ids[i]);
            equal(change.executeUpdate(), 1);
          }
          equal(oneInt(connection, "SELECT sum(balance)::int FROM account"), 10000);
          equal(one(connection, "SELECT pg_backend_pid()"), backend);
          if (step % 3 == 0) connection.rollback(); else connection.commit();
          backends.add(backend);
        }
      }
      return backends;
    }));
  }

  @Test
  public void preparedStatementsOnManyServers() throws Exception {
    checkServersShared(manyClients((connection, number) -> {
      Set<String> backends = new HashSet<>();
      try (PreparedStatement sum = connection.prepareStatement("SELECT ? + ?, pg_backend_pid()")) {
        sum.unwrap(PGStatement.class).setPrepareThreshold(3);
        for (int step = 0; step < 60; step++) {
          sum.setInt(1, number);
          sum.setInt(2, step);
          try (ResultSet result = sum.executeQuery()) {
            result.next();
            equal(result.getInt(1), number + step);
            backends.add(result.getString(2));
          }
        }
        check(sum.unwrap(PGStatement.class).isUseServerPrepare(), "the driver did not prepare the statement");
      }
      return backends;
    }));
  }

  /** More than a server keeps, and at the second client more than the driver's cache keeps: it sends Close messages. */
  @Test
  public void moreStatementsThanFit() throws Exception {
    try (Connection first = connect("prepareThreshold", "1");
        Connection second = connect("prepareThreshold", "1", "preparedStatementCacheQueries", "10")) {
      for (int round = 0; round < 2; round++) {
        for (int number = 0; number < 3 * PREPARED_MAX; number++) {
          equal(oneInt(first, "SELECT ? + " + number, 1), number + 1);
          equal(oneInt(second, "SELECT ? + " + number, 1), number + 1);
        }
      }
    }
  }

  /** prepareThreshold -1 transfers rows in binary from the first execution on, by a Describe of the named statement. */
  @Test
  public void binaryTransfer() throws Exception {
    try (Connection connection = connect("prepareThreshold", "-1")) {
      for (int i = 0; i < 10; i++) {
        try (PreparedStatement statement = prepare(connection, "SELECT ?::int8, ?::float8, ?::timestamptz, ?::int[]",
            1L << 40, 2.5, OffsetDateTime.parse("2026-01-02T03:04:05Z"), connection.createArrayOf("int", new Object[] {1, 2}));
            ResultSet result = statement.executeQuery()) {
          result.next();
          equal(result.getLong(1), 1L << 40);
          equal(result.getDouble(2), 2.5);
          equal(result.getTimestamp(3).toInstant().toString(), "2026-01-02T03:04:05Z");
          equal(Arrays.toString((Object[]) result.getArray(4).getArray()), "[1, 2]");
        }
      }
    }
  }

  @Test
  public void simpleQueryMode() throws Exception {
    try (Connection connection = connect("preferQueryMode", "simple")) {
      for (int i = 0; i < 10; i++) equal(oneInt(connection, "SELECT ? * 2", i), i * 2);
      fails("22012", () -> one(connection, "SELECT 1 / ?", 0));
      equal(oneInt(connection, "SELECT 1"), 1);
    }
  }

  @Test
  public void batches() throws Exception {
    for (String rewrite : List.of("false", "true")) {
      try (Connection connection = connect("reWriteBatchedInserts", rewrite); Statement setup = connection.createStatement()) {
        setup.execute("DROP TABLE IF EXISTS batch; CREATE TABLE batch (id int PRIMARY KEY, name text)");
        connection.setAutoCommit(false);
        try (PreparedStatement insert = connection.prepareStatement("INSERT INTO batch VALUES (?, ?)")) {
          for (int number = 0; number < 5000; number++) {
            insert.setInt(1, number);
            insert.setString(2, "name " + number);
            insert.addBatch();
            if (number % 500 == 499) equal(insert.executeBatch().length, 500);
          }
          connection.commit();
          for (int number : new int[] {5000, 5001, 7, 5002}) {
            insert.setInt(1, number);
            insert.setString(2, "");
            insert.addBatch();
          }
          try {
            insert.executeBatch();
            throw new AssertionError("the batch with a duplicate went through");
          } catch (BatchUpdateException error) {
            equal(error.getSQLState(), "23505");
          }
          connection.rollback();
        }
        equal(oneInt(connection, "SELECT count(*) FROM batch"), 5000);
        setup.addBatch("UPDATE batch SET name = 'x' WHERE id < 10");
        setup.addBatch("DELETE FROM batch WHERE id >= 4000");
        equal(Arrays.toString(setup.executeBatch()), "[10, 1000]");
        connection.commit();
      }
    }
  }

  @Test
  public void generatedKeys() throws Exception {
    try (Connection connection = connect(); Statement setup = connection.createStatement()) {
      setup.execute("DROP TABLE IF EXISTS keyed; CREATE TABLE keyed (id serial PRIMARY KEY, name text)");
      try (PreparedStatement insert = connection.prepareStatement("INSERT INTO keyed (name) VALUES (?)", new String[] {"id"})) {
        List<Integer> keys = new ArrayList<>();
        for (int number = 0; number < 50; number++) {
          insert.setString(1, "row " + number);
          insert.addBatch();
        }
        insert.executeBatch();
        try (ResultSet result = insert.getGeneratedKeys()) {
          while (result.next()) keys.add(result.getInt(1));
        }
        equal(keys.size(), 50);
        equal(keys.get(49), 50);
      }
    }
  }

  @Test
  public void copyInAndOut() throws Exception {
    StringBuilder lines = new StringBuilder();
    for (int number = 0; number < 60000; number++) lines.append(number).append('\t').append("grüße-".repeat(10)).append('\n');
    byte[] data = lines.toString().getBytes(StandardCharsets.UTF_8);
    try (Connection connection = connect(); Statement setup = connection.createStatement()) {
      setup.execute("DROP TABLE IF EXISTS copied; CREATE TABLE copied (id int PRIMARY KEY, text text)");
      CopyManager copy = connection.unwrap(PGConnection.class).getCopyAPI();
      equal(copy.copyIn("COPY copied FROM STDIN", new ByteArrayInputStream(data)), 60000L);
      ByteArrayOutputStream out = new ByteArrayOutputStream();
      equal(copy.copyOut("COPY (SELECT * FROM copied ORDER BY id) TO STDOUT", out), 60000L);
      check(Arrays.equals(out.toByteArray(), data), "other data came back");

      fails("23505", () -> copy.copyIn("COPY copied FROM STDIN", new ByteArrayInputStream("7\tagain\n".getBytes(StandardCharsets.UTF_8))));
      equal(oneInt(connection, "SELECT count(*) FROM copied"), 60000);
      InputStream broken = new InputStream() {
        private int left = 3;

        @Override
        public int read() throws IOException {
          if (left-- > 0) return '1';
          throw new IOException("the source broke");
        }
      };
      try {
        copy.copyIn("COPY copied FROM STDIN", broken);
        throw new AssertionError("a broken source went unnoticed");
      } catch (IOException error) {
        equal(error.getMessage(), "the source broke");
      }
      equal(oneInt(connection, "SELECT count(*) FROM copied"), 60000);

      CopyOut half = copy.copyOut("COPY (SELECT repeat('x', 100) FROM generate_series(1, 200000)) TO STDOUT");
      half.readFromCopy();
      connection.unwrap(PGConnection.class).cancelQuery();
      fails("57014", () -> {
        while (half.readFromCopy() != null) {}
      });
      equal(oneInt(connection, "SELECT 1"), 1);
    }
  }

  @Test
  public void cancelHitsItsOwnQueryAlone() throws Exception {
    AtomicBoolean stop = new AtomicBoolean();
    List<CompletableFuture<Integer>> neighbours = new ArrayList<>();
    for (int number = 0; number < 6; number++) {
      int client = number;
      neighbours.add(inThread(() -> {
        try (Connection connection = connect()) {
          int queries = 0;
          for (; !stop.get(); queries++) equal(oneInt(connection, "SELECT ? + 1", client), client + 1);
          return queries;
        }
      }));
    }
    try (Connection sleeper = connect(); Statement statement = sleeper.createStatement()) {
      for (int round = 0; round < 5; round++) {
        String marker = "pgjdbc cancel " + round;
        CompletableFuture<Boolean> sleep = inThread(() -> statement.execute("SELECT pg_sleep(60) /* " + marker + " */"));
        waitUntilRunning(marker);
        statement.cancel();
        fails("57014", () -> await(sleep));
        equal(oneInt(sleeper, "SELECT 42"), 42);
      }
      statement.setQueryTimeout(1);
      fails("57014", () -> statement.execute("SELECT pg_sleep(60)"));
      statement.setQueryTimeout(0);
      equal(oneInt(sleeper, "SELECT 42"), 42);
    } finally {
      stop.set(true);
    }
    for (CompletableFuture<Integer> each : neighbours) check(await(each) > 0, "a neighbour did nothing");
  }

  static <T> CompletableFuture<T> inThread(Callable<T> work) {
    CompletableFuture<T> future = new CompletableFuture<>();
    Thread thread = new Thread(() -> {
      try {
        future.complete(work.call());
      } catch (Throwable error) {
        future.completeExceptionally(error);
      }
    });
    thread.setDaemon(true);
    thread.start();
    return future;
  }

  static <T> T await(CompletableFuture<T> future) throws Exception {
    try {
      return future.get();
    } catch (ExecutionException error) {
      if (error.getCause() instanceof Exception) throw (Exception) error.getCause();
      throw (Error) error.getCause();
    }
  }

  @Test
  public void errorsLeaveTheConnectionUsable() throws Exception {
    try (Connection connection = connect(); Statement setup = connection.createStatement()) {
      setup.execute("DROP TABLE IF EXISTS constrained; CREATE TABLE constrained "
          + "(id int PRIMARY KEY, amount int CONSTRAINT positive CHECK (amount > 0)); INSERT INTO constrained VALUES (1, 1)");
      for (int round = 0; round < 7; round++) { // past the driver's threshold for server-side statements
        fails("42601", () -> one(connection, "SELEC ?", 1));
        fails("42P01", () -> one(connection, "SELECT * FROM no_such_table"));
        fails("22012", () -> one(connection, "SELECT 1 / ?", 0));
        fails("22P02", () -> one(connection, "SELECT ?::text::int", "x"));
        fails("23505", () -> update(connection, "INSERT INTO constrained VALUES (?, 1)", 1));
        SQLException error = fails("23514", () -> update(connection, "INSERT INTO constrained VALUES (2, ?)", -1));
        equal(((PSQLException) error).getServerErrorMessage().getConstraint(), "positive");
        equal(oneInt(connection, "SELECT ? + 1", 1), 2);
      }
      connection.setAutoCommit(false);
      fails("22012", () -> one(connection, "SELECT 1 / ?", 0));
      fails("25P02", () -> one(connection, "SELECT 1"));
      connection.rollback();
      equal(oneInt(connection, "SELECT 1"), 1);
    }
  }

  /** autosave sets a savepoint before each statement: an error leaves the transaction alive. */
  @Test
  public void autosave() throws Exception {
    createAccounts();
    try (Connection connection = connect("autosave", "always", "prepareThreshold", "1")) {
      connection.setAutoCommit(false);
      for (int round = 0; round < 5; round++) {
        equal(update(connection, "UPDATE account SET balance = balance + ? WHERE id = 1", 1), 1);
        fails("23505", () -> update(connection, "INSERT INTO account VALUES (?, 0)", 1));
        equal(oneInt(connection, "SELECT balance FROM account WHERE id = 1"), 1001 + round);
      }
      connection.commit();
    }
    try (Connection connection = connect()) {
      equal(oneInt(connection, "SELECT balance FROM account WHERE id = 1"), 1005);
    }
  }

  /** With autosave the driver itself heals "cached plan must not change result type" by preparing anew. */
  @Test
  public void autosaveHealsAChangedTable() throws Exception {
    try (Connection owner = connect(); Statement ddl = owner.createStatement();
        Connection reader = connect("autosave", "conservative", "prepareThreshold", "1")) {
      ddl.execute("DROP TABLE IF EXISTS changing; CREATE TABLE changing (a int); INSERT INTO changing VALUES (1)");
      reader.setAutoCommit(false);
      for (int columns = 1; columns < 5; columns++) {
        try (PreparedStatement select = prepare(reader, "SELECT * FROM changing WHERE a = ?", 1);
            ResultSet result = select.executeQuery()) {
          result.next();
          equal(result.getMetaData().getColumnCount(), columns);
        }
        reader.commit();
        ddl.execute("ALTER TABLE changing ADD COLUMN b" + columns + " int");
      }
    }
  }

  @Test
  public void fetchSizeUsesAPortal() throws Exception {
    try (Connection connection = connect(); Connection neighbour = connect()) {
      connection.setAutoCommit(false);
      try (PreparedStatement select = prepare(connection, "SELECT n FROM generate_series(1, ?) AS n", 2500)) {
        select.setFetchSize(100);
        try (ResultSet result = select.executeQuery()) {
          int expected = 1;
          while (result.next()) {
            equal(result.getInt(1), expected);
            if (expected % 500 == 0) equal(oneInt(neighbour, "SELECT ?", expected), expected);
            expected++;
          }
          equal(expected, 2501);
        }
        try (ResultSet half = select.executeQuery()) { // closed with rows left
          half.next();
          equal(half.getInt(1), 1);
        }
      }
      connection.commit();
      equal(oneInt(connection, "SELECT 1"), 1);
    }
  }

  @Test
  public void largeObjects() throws Exception {
    byte[] data = new byte[3_000_000];
    new Random(1).nextBytes(data);
    try (Connection connection = connect()) {
      connection.setAutoCommit(false);
      LargeObjectManager manager = connection.unwrap(PGConnection.class).getLargeObjectAPI();
      long oid = manager.createLO();
      try (LargeObject object = manager.open(oid, LargeObjectManager.WRITE)) {
        object.write(data);
      }
      connection.commit();
      try (LargeObject object = manager.open(oid, LargeObjectManager.READ)) {
        equal(object.size(), data.length);
        check(Arrays.equals(object.read(data.length), data), "other data came back");
        object.seek(1000);
        equal(object.read(1)[0], data[1000]);
      }
      manager.delete(oid);
      connection.commit();
    }
  }

  @Test
  public void unicodeBytesAndLargeValues() throws Exception {
    String text = "Zażółć gęślą jaźń, 你好, 🐘, \u202e, '\"\\ \t\n";
    byte[] data = new byte[1 << 20];
    new Random(2).nextBytes(data);
    try (Connection connection = connect()) {
      for (int round = 0; round < 7; round++) {
        try (PreparedStatement select = prepare(connection, "SELECT ?::text, ?::bytea", text, data);
            ResultSet result = select.executeQuery()) {
          result.next();
          equal(result.getString(1), text);
          check(Arrays.equals(result.getBytes(2), data), "other bytes came back");
        }
      }
      equal(one(connection, "SELECT repeat('x', 20000000)").length(), 20000000);
      long sum = 0;
      try (Statement select = connection.createStatement();
          ResultSet result = select.executeQuery("SELECT n, md5(n::text) FROM generate_series(1, 100000) AS n")) {
        while (result.next()) sum += result.getInt(1);
      }
      equal(sum, 5000050000L);
    }
  }

  @Test
  public void notices() throws Exception {
    try (Connection loud = connect(); Statement raise = loud.createStatement();
        Connection quiet = connect(); Statement select = quiet.createStatement()) {
      for (int number = 0; number < 10; number++) {
        raise.execute("DO $$ BEGIN RAISE NOTICE 'notice " + number + "'; END $$");
        SQLWarning warning = raise.getWarnings();
        check(warning != null, "no notice");
        equal(warning.getMessage(), "notice " + number);
        select.execute("SELECT 1");
        equal(select.getWarnings(), null);
      }
    }
  }

  static Connection connectAs(String name, String schema, String zone, String memory) throws SQLException {
    TimeZone.setDefault(TimeZone.getTimeZone(zone)); // the driver tells the server the JVM's time zone
    return connect("ApplicationName", name, "currentSchema", schema, "options", "-c work_mem=" + memory);
  }

  @Test
  public void startupSettingsBelongToTheirClient() throws Exception {
    String[][] wanted = {{"left", "left_side", "Asia/Tokyo", "3MB"}, {"right", "right_side", "America/New_York", "7MB"}};
    TimeZone before = TimeZone.getDefault();
    List<Set<String>> backends = List.of(new HashSet<>(), new HashSet<>());
    try (Connection left = connectAs("left", "left_side", "Asia/Tokyo", "3MB");
        Connection right = connectAs("right", "right_side", "America/New_York", "7MB")) {
      for (int round = 0; round < 10; round++) {
        for (int side = 0; side < 2; side++) {
          try (PreparedStatement select = prepare(side == 0 ? left : right, "SELECT current_setting('application_name'), "
                  + "current_setting('search_path'), current_setting('TimeZone'), current_setting('work_mem'), pg_backend_pid()");
              ResultSet result = select.executeQuery()) {
            result.next();
            for (int column = 0; column < 4; column++) equal(result.getString(column + 1), wanted[side][column]);
            backends.get(side).add(result.getString(5));
          }
        }
      }
    } finally {
      TimeZone.setDefault(before);
    }
    Set<String> shared = new HashSet<>(backends.get(0));
    shared.retainAll(backends.get(1));
    equal(shared.isEmpty(), DIRECT);
  }

  @Test
  public void applicationNameSetOnTheWay() throws Exception {
    try (Connection left = connect(); Connection right = connect("ApplicationName", "right")) {
      left.setClientInfo("ApplicationName", "left");
      for (int round = 0; round < 5; round++) {
        equal(one(left, "SHOW application_name"), "left");
        equal(one(right, "SHOW application_name"), "right");
      }
    }
  }

  @Test
  public void manyShortLivedClients() throws Exception {
    manyClients((unused, number) -> {
      for (int round = 0; round < 10; round++) {
        try (Connection connection = connect("ApplicationName", number + " " + round)) {
          equal(one(connection, "SHOW application_name"), number + " " + round);
        }
      }
      return null;
    });
  }

  @Test
  public void serverLostInATransaction() throws Exception {
    if (DIRECT) {
      return; // the connection ends with its server
    }
    try (Connection connection = connect(); Connection other = connect()) {
      connection.setAutoCommit(false);
      for (int round = 0; round < 8; round++) { // from the fifth time on, statements are prepared by name
        int backend = oneInt(connection, "SELECT pg_backend_pid()");
        one(other, "SELECT pg_terminate_backend(?, 5000)", backend);
        fails("57P01", () -> oneInt(connection, "SELECT ?::int", 1));
        fails("25P02", () -> oneInt(connection, "SELECT ?::int", 1));
        connection.rollback();
        equal(oneInt(connection, "SELECT ?::int", round), round);
        connection.commit();
      }
    }
  }
}
