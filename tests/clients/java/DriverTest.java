import java.io.PrintWriter;
import java.io.StringWriter;
import java.lang.annotation.ElementType;
import java.lang.annotation.Retention;
import java.lang.annotation.RetentionPolicy;
import java.lang.annotation.Target;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.Comparator;
import java.util.HashSet;
import java.util.List;
import java.util.Objects;
import java.util.Properties;
import java.util.Set;
import java.util.concurrent.Callable;
import java.util.concurrent.CyclicBarrier;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;

/** What a JDBC test program needs: where the pooler is (from harness.py), checks, many clients, and a runner. */
abstract class DriverTest {
  static final int CLIENTS = 20;

  static final boolean DIRECT = environment("BEZEL_TEST_DIRECT").equals("1");
  static final int POOL_SIZE = Integer.parseInt(environment("BEZEL_TEST_POOL_SIZE"));
  static final int PREPARED_MAX = Integer.parseInt(environment("BEZEL_TEST_PREPARED_MAX"));
  /** What sslmode=verify-full asks; without TLS none. */
  static final String AUTHORITY = System.getenv("BEZEL_TEST_AUTHORITY");
  static final String USER = environment("BEZEL_TEST_USER");
  static final String DATABASE = environment("BEZEL_TEST_DATABASE");

  /** A method that is a test. */
  @Retention(RetentionPolicy.RUNTIME)
  @Target(ElementType.METHOD)
  @interface Test {
    /**
     * The test is of session state that Bezel does not carry, as docs/session-state.md says: it must pass on a direct
     * connection and fail through Bezel. When Bezel learns to carry it, this mark and the line in the documentation go.
     */
    boolean notCarried() default false;
  }

  interface Work {
    void run() throws Exception;
  }

  interface ClientWork<T> {
    T run(Connection connection, int number) throws Exception;
  }

  static String environment(String name) {
    return Objects.requireNonNull(System.getenv(name), () -> name + " is not set; run this by harness.py");
  }

  private static Properties encryption() {
    Properties properties = new Properties();
    if (AUTHORITY != null) {
      properties.setProperty("sslmode", "verify-full");
      properties.setProperty("sslrootcert", AUTHORITY);
    }
    return properties;
  }

  /** A connection to the pooler; the properties come in pairs of name and value. */
  static Connection connect(String... properties) throws SQLException {
    Properties all = encryption();
    all.setProperty("user", USER);
    all.setProperty("password", environment("BEZEL_TEST_PASSWORD"));
    for (int i = 0; i < properties.length; i += 2) all.setProperty(properties[i], properties[i + 1]);
    String host = all.getProperty("PGHOST", environment("BEZEL_TEST_HOST"));
    String database = all.getProperty("PGDBNAME", DATABASE);
    return DriverManager.getConnection(
        "jdbc:postgresql://" + host + ":" + environment("BEZEL_TEST_PORT") + "/" + database, all);
  }

  /** A connection to the server behind the pooler, as superuser: for looking only. */
  static Connection connectToServer() throws SQLException {
    Properties all = encryption();
    all.setProperty("user", environment("BEZEL_TEST_OBSERVER"));
    all.setProperty("password", environment("BEZEL_TEST_OBSERVER_PASSWORD"));
    return DriverManager.getConnection(
        "jdbc:postgresql://" + environment("BEZEL_TEST_HOST") + ":" + environment("BEZEL_TEST_SERVER_PORT") + "/" + DATABASE, all);
  }

  static PreparedStatement prepare(Connection connection, String query, Object... values) throws SQLException {
    PreparedStatement statement = connection.prepareStatement(query);
    for (int i = 0; i < values.length; i++) statement.setObject(i + 1, values[i]);
    return statement;
  }

  /** The first column of the first row, as text. */
  static String one(Connection connection, String query, Object... values) throws SQLException {
    try (PreparedStatement statement = prepare(connection, query, values); ResultSet result = statement.executeQuery()) {
      result.next();
      return result.getString(1);
    }
  }

  static int oneInt(Connection connection, String query, Object... values) throws SQLException {
    return Integer.parseInt(one(connection, query, values));
  }

  static int update(Connection connection, String query, Object... values) throws SQLException {
    try (PreparedStatement statement = prepare(connection, query, values)) {
      return statement.executeUpdate();
    }
  }

  static void check(boolean condition, String what) {
    if (!condition) throw new AssertionError(what);
  }

  static void equal(Object actual, Object wanted) {
    check(Objects.equals(actual, wanted), actual + " is not " + wanted);
  }

  /** The work must fail with this SQLSTATE. */
  static SQLException fails(String state, Work work) throws Exception {
    try {
      work.run();
    } catch (SQLException error) {
      check(state.equals(error.getSQLState()), "SQLSTATE " + error.getSQLState() + ", not " + state + ": " + error.getMessage());
      return error;
    }
    throw new AssertionError("no error, " + state + " was wanted");
  }

  /** Runs the work for many clients, each with a thread and a connection; all are connected before the first begins. */
  static <T> List<T> manyClients(ClientWork<T> work, String... properties) throws Exception {
    CyclicBarrier ready = new CyclicBarrier(CLIENTS);
    List<Callable<T>> clients = new ArrayList<>();
    for (int number = 0; number < CLIENTS; number++) {
      int client = number;
      clients.add(() -> {
        try (Connection connection = connect(properties)) {
          ready.await(60, TimeUnit.SECONDS);
          T result = work.run(connection, client);
          ready.await(60, TimeUnit.SECONDS);
          return result;
        }
      });
    }
    ExecutorService executor = Executors.newFixedThreadPool(CLIENTS);
    try {
      List<T> results = new ArrayList<>();
      for (Future<T> each : executor.invokeAll(clients)) results.add(each.get());
      return results;
    } finally {
      executor.shutdown();
    }
  }

  /** Many clients, all open at once, ran transactions on these backends: few when pooled, one each when not. */
  static void checkServersShared(Collection<? extends Collection<String>> backends) {
    Set<String> distinct = new HashSet<>();
    backends.forEach(distinct::addAll);
    if (DIRECT) {
      equal(distinct.size(), CLIENTS);
    } else {
      check(distinct.size() <= POOL_SIZE, distinct.size() + " servers");
      check(distinct.size() > 1, "only one server was at work");
    }
  }

  /** Returns once the server is at work on a query that contains the marker. */
  static void waitUntilRunning(String marker) throws Exception {
    try (Connection observer = connectToServer()) {
      while (oneInt(observer, "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE ? "
          + "AND pid <> pg_backend_pid()", "%" + marker + "%") == 0) {
        Thread.sleep(20);
      }
    }
  }

  /** Runs all tests of the class; the process's exit status tells whether all passed. */
  static void runAll(Class<? extends DriverTest> type) throws Exception {
    DriverTest tests = type.getDeclaredConstructor().newInstance();
    Method[] methods = type.getDeclaredMethods();
    Arrays.sort(methods, Comparator.comparing(Method::getName));
    int passed = 0;
    int failed = 0;
    for (Method method : methods) {
      Test mark = method.getAnnotation(Test.class);
      if (mark == null) continue;
      Throwable error = errorOf(method, tests);
      boolean failureWanted = mark.notCarried() && !DIRECT;
      if ((error != null) == failureWanted) {
        passed++;
        System.out.println((failureWanted ? "fails, as documented: " : "ok ") + method.getName());
      } else {
        failed++;
        StringWriter trace = new StringWriter();
        if (error != null) error.printStackTrace(new PrintWriter(trace));
        System.out.println("FAILED " + method.getName() + (failureWanted ? " passes, against its mark" : "") + "\n" + trace);
      }
    }
    System.out.println(passed + " passed, " + failed + " failed");
    System.exit(failed == 0 && passed > 0 ? 0 : 1);
  }

  private static Throwable errorOf(Method method, DriverTest tests) throws IllegalAccessException {
    try {
      method.invoke(tests);
      return null;
    } catch (InvocationTargetException error) {
      return error.getCause();
    }
  }
}
