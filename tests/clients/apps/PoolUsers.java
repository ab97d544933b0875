import com.zaxxer.hikari.HikariDataSource;
import java.sql.Connection;
import java.sql.SQLException;
import java.util.UUID;

/**
 * HikariCP with the PostgreSQL driver, a pool of two connections, a transaction for each request, as Spring makes them.
 * Arguments: host, port, database, how the user is told (lookup, none), what becomes of the second save.
 */
public class PoolUsers {
    static final UUID ADA = UUID.fromString("aaaaaaaa-0000-4000-8000-000000000001");
    static final UUID BOB = UUID.fromString("bbbbbbbb-0000-4000-8000-000000000002");
    static final UUID KEY = UUID.fromString("00000000-0000-4000-8000-000000000001");
    static HikariDataSource pool;
    static boolean lookup;
    static int requests;

    interface Work {
        void in(Connection connection) throws SQLException;
    }

    static void rows(Connection connection, String sql, UUID key) throws SQLException {
        try (var statement = connection.prepareStatement(sql)) {
            statement.setObject(1, key);
            try (var found = statement.executeQuery()) {
                equal(found.next(), true, sql);
            }
        }
    }

    /** A request in a transaction of its own; every other one finds the first connection busy. */
    static void request(UUID user, Work work) throws SQLException {
        try (var busy = requests++ % 2 == 1 ? pool.getConnection() : null; var connection = pool.getConnection()) {
            connection.setAutoCommit(false);
            try {
                if (lookup) {
                    rows(connection, "select id, email from users where id = ?", user);
                }
                work.in(connection);
                connection.commit();
            } catch (SQLException error) {
                connection.rollback();
                throw error;
            }
        }
    }

    static void read(UUID user) throws SQLException {
        request(user, connection -> rows(connection, "select id, name from portfolios where id = ?", KEY));
    }

    static boolean save(UUID user, String name) throws SQLException {
        try {
            request(user, connection -> {
                rows(connection, "select id, name from portfolios where id = ?", KEY);
                try (var statement = connection.prepareStatement("update portfolios set name = ? where id = ?")) {
                    statement.setString(1, name);
                    statement.setObject(2, KEY);
                    equal(statement.executeUpdate(), 1, "rows written");
                }
            });
            return true;
        } catch (SQLException error) {
            equal(error.getSQLState(), "40001", error.getMessage());
            return false;
        }
    }

    static void equal(Object found, Object wanted, String what) {
        if (!found.equals(wanted)) {
            System.err.println(what + ": " + found + " where " + wanted + " was expected");
            System.exit(1);
        }
    }

    public static void main(String[] arguments) throws SQLException {
        lookup = arguments[3].equals("lookup");
        boolean refused = arguments[4].equals("refused");
        pool = new HikariDataSource();
        pool.setJdbcUrl("jdbc:postgresql://" + arguments[0] + ":" + arguments[1] + "/" + arguments[2]);
        pool.setUsername("postgres");
        pool.setMaximumPoolSize(2);
        // Often enough for the driver to prepare its statements on the server.
        for (int n = 0; n < 14; n++) {
            read(ADA);
            read(BOB);
        }
        equal(save(ADA, "ada's"), true, "the first save");
        equal(save(BOB, "bob's"), !refused, "the second save");
        if (refused) {
            equal(save(BOB, "bob's"), false, "a repeat of it");
            read(BOB);
            equal(save(BOB, "bob's"), true, "the save after a refresh");
            equal(save(BOB, "bob's again"), true, "the save behind it");
            equal(save(ADA, "ada's again"), false, "the first user's save, from a page that is old by now");
        }
        pool.close();
    }
}
