import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.FileOutputStream;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Executors;

/**
 * The shipping department of the shop. One file, the JDK's classes alone: {@code java Shipping.java}, Java 11 or newer.
 * shipping.mjs is its twin.
 *
 * <pre>
 * POST /book        a CloudEvent stock.reserved in, the data of shipment.booked out
 * GET  /quotes/ID   what shipping to a user costs
 * GET  /stats       shipments that this process has booked
 * </pre>
 *
 * The port is in the environment variable PORT, the address in HOST (default: 127.0.0.1). With SHIPPING_LEDGER, a line of
 * JSON for each event that was handled goes to that file before the answer does.
 */
public class Shipping {
    private static final int MAX_BODY = 16 * 1024 * 1024;
    private static final int REMEMBERED = 100_000;
    private static final String[] CARRIERS = {"Bird", "Ox", "Snail"};

    /** What was answered, by idempotency key: a key that comes again gets the same answer, and nothing is done again. */
    private final Map<String, String> answers = new LinkedHashMap<>() {
        @Override
        protected boolean removeEldestEntry(Map.Entry<String, String> eldest) {
            return size() > REMEMBERED;
        }
    };
    private final FileOutputStream ledger;
    private int booked;

    Shipping(String ledgerPath) throws IOException {
        ledger = ledgerPath == null || ledgerPath.isEmpty() ? null : new FileOutputStream(ledgerPath, true);
    }

    public static void main(String[] args) throws IOException {
        // Read by the server's class when it is loaded. Without nodelay each answer waits 40 ms for an acknowledgement.
        System.setProperty("sun.net.httpserver.nodelay", "true");
        System.setProperty("sun.net.httpserver.idleInterval", "600");
        System.setProperty("sun.net.httpserver.maxIdleConnections", "1000");
        int port = Integer.parseInt(System.getenv("PORT"));
        HttpServer server = HttpServer.create(new InetSocketAddress(InetAddress.getByName(System.getenv().getOrDefault("HOST", "127.0.0.1")), port), 1024);
        Shipping shipping = new Shipping(System.getenv("SHIPPING_LEDGER"));
        server.createContext("/", shipping::handle);
        server.setExecutor(Executors.newFixedThreadPool(32));
        server.start();
        System.out.println("shipping (Java) listens on " + port);
    }

    private void handle(HttpExchange exchange) throws IOException {
        try (exchange) {
            String method = exchange.getRequestMethod();
            String path = exchange.getRequestURI().getRawPath();
            if (method.equals("POST")) post(exchange, path);
            else if (!method.equals("GET")) reply(exchange, 501, error("GET or POST"));
            else if (path.matches("/quotes/[1-9][0-9]{0,14}")) reply(exchange, 200, quote(Long.parseLong(path.substring(8))));
            else if (path.equals("/stats")) reply(exchange, 200, stats());
            else reply(exchange, 404, error("not found"));
        }
    }

    private void post(HttpExchange exchange, String path) throws IOException {
        String length = exchange.getRequestHeaders().getFirst("Content-Length");
        if (length == null || !length.matches("[0-9]{1,9}") || Integer.parseInt(length) > MAX_BODY) {
            exchange.getResponseHeaders().set("Connection", "close");
            reply(exchange, length == null ? 411 : 413, error("Content-Length: at most " + MAX_BODY));
            return;
        }
        byte[] body = exchange.getRequestBody().readAllBytes();
        if (!path.equals("/book")) {
            reply(exchange, 404, error("not found"));
            return;
        }
        Object data;
        try {
            data = new Json(decode(body)).parse();
        } catch (IllegalArgumentException | CharacterCodingException problem) {
            reply(exchange, 400, error("the body is not JSON"));
            return;
        }
        Object orderId = data instanceof Map ? ((Map<?, ?>) data).get("order_id") : null;
        if (!(orderId instanceof String) || !((String) orderId).matches("[A-Za-z0-9_-]{1,64}")) {
            reply(exchange, 400, error("order_id: letters, digits, - and _, at most 64"));
            return;
        }
        reply(exchange, 200, book(exchange, (Map<?, ?>) data, (String) orderId));
    }

    /** The data of the event. Its type is not said: the step emits only one. */
    private String book(HttpExchange exchange, Map<?, ?> reserved, String orderId) throws IOException {
        String given = exchange.getRequestHeaders().getFirst("Idempotency-Key");
        String key = given == null || given.isEmpty() ? orderId : given;
        String answer;
        boolean repeated;
        synchronized (answers) {
            answer = answers.get(key);
            repeated = answer != null;
            if (!repeated) {
                answer = shipment(reserved, orderId);
                answers.put(key, answer);
                booked++;
            }
        }
        record(exchange, orderId, key, repeated);
        return answer;
    }

    private static String shipment(Map<?, ?> reserved, String orderId) {
        int lines = reserved.get("lines") instanceof List ? ((List<?>) reserved.get("lines")).size() : 0;
        double user = reserved.get("user_id") instanceof Double ? (Double) reserved.get("user_id") : 0;
        long id = user >= 0 && user < 1e15 && user == Math.rint(user) ? (long) user : 0;
        return "{\"order_id\":\"" + orderId + "\",\"shipment_id\":\"ship-" + orderId + "\",\"carrier\":\"" + carrier(id)
            + "\",\"parcels\":" + Math.max(1, (lines + 2) / 3) + ",\"days\":" + days(id) + "}";
    }

    private static String quote(long user) {
        return "{\"user_id\":" + user + ",\"carrier\":\"" + carrier(user) + "\",\"price_cents\":"
            + (400 + user % 7 * 50) + ",\"days\":" + days(user) + "}";
    }

    private static String carrier(long user) {
        return CARRIERS[(int) (user % 3)];
    }

    private static long days(long user) {
        return 1 + user % 5;
    }

    private String stats() {
        synchronized (answers) {
            return "{\"shipment.booked\":" + booked + "}";
        }
    }

    private void record(HttpExchange exchange, String orderId, String key, boolean repeated) throws IOException {
        if (ledger == null) return;
        String attempt = exchange.getRequestHeaders().getFirst("X-Levada-Attempt");
        String number = attempt != null && attempt.matches("[0-9]{1,9}") ? String.valueOf(Integer.parseInt(attempt)) : "null";
        String line = "{\"order_id\":\"" + orderId + "\",\"key\":" + Json.quote(key) + ",\"attempt\":" + number + ",\"pid\":"
            + ProcessHandle.current().pid() + ",\"outcome\":\"shipment.booked\",\"repeated\":" + repeated + "}\n";
        // One write of an append-only file: lines of threads do not mix, and the kernel has it before the answer goes.
        ledger.write(line.getBytes(StandardCharsets.UTF_8));
    }

    private static String error(String text) {
        return "{\"error\":" + Json.quote(text) + "}";
    }

    private static String decode(byte[] body) throws CharacterCodingException {
        return StandardCharsets.UTF_8.newDecoder().decode(ByteBuffer.wrap(body)).toString();
    }

    private static void reply(HttpExchange exchange, int status, String json) throws IOException {
        byte[] content = json.getBytes(StandardCharsets.UTF_8);
        exchange.getResponseHeaders().set("Content-Type", "application/json");
        exchange.sendResponseHeaders(status, content.length);
        exchange.getResponseBody().write(content);
    }

    /** As much of JSON as the shop needs: maps, lists, texts, doubles, booleans, null. */
    private static final class Json {
        private static final int MAX_DEPTH = 500;
        private final String text;
        private int at;

        Json(String text) {
            this.text = text;
        }

        Object parse() {
            Object value = value(0);
            space();
            if (at != text.length()) throw wrong();
            return value;
        }

        static String quote(String text) {
            StringBuilder quoted = new StringBuilder("\"");
            for (char c : text.toCharArray()) {
                if (c == '"' || c == '\\') quoted.append('\\').append(c);
                else if (c < ' ' || c > '~') quoted.append(String.format("\\u%04x", (int) c));
                else quoted.append(c);
            }
            return quoted.append('"').toString();
        }

        private Object value(int depth) {
            if (depth > MAX_DEPTH) throw wrong();
            space();
            switch (peek()) {
                case '{': return object(depth);
                case '[': return list(depth);
                case '"': return string();
                case 't': return word("true", true);
                case 'f': return word("false", false);
                case 'n': return word("null", null);
                default: return number();
            }
        }

        private Map<String, Object> object(int depth) {
            Map<String, Object> map = new LinkedHashMap<>();
            at++;
            space();
            if (take('}')) return map;
            do {
                space();
                if (peek() != '"') throw wrong();
                String key = string();
                space();
                if (!take(':')) throw wrong();
                map.put(key, value(depth + 1));
                space();
            } while (take(','));
            if (!take('}')) throw wrong();
            return map;
        }

        private List<Object> list(int depth) {
            List<Object> list = new ArrayList<>();
            at++;
            space();
            if (take(']')) return list;
            do {
                list.add(value(depth + 1));
                space();
            } while (take(','));
            if (!take(']')) throw wrong();
            return list;
        }

        private String string() {
            StringBuilder string = new StringBuilder();
            for (at++; peek() != '"'; at++) {
                char c = peek();
                if (c < ' ') throw wrong();
                string.append(c == '\\' ? escaped() : c);
            }
            at++;
            return string.toString();
        }

        private char escaped() {
            at++;
            int index = "\"\\/bfnrt".indexOf(peek());
            if (index >= 0) return "\"\\/\b\f\n\r\t".charAt(index);
            if (peek() != 'u' || at + 4 >= text.length()) throw wrong();
            String digits = text.substring(at + 1, at + 5);
            if (!digits.matches("[0-9A-Fa-f]{4}")) throw wrong();
            at += 4;
            return (char) Integer.parseInt(digits, 16);
        }

        private Object word(String word, Object meaning) {
            if (!text.startsWith(word, at)) throw wrong();
            at += word.length();
            return meaning;
        }

        private Double number() {
            int start = at;
            while (at < text.length() && "+-.0123456789Ee".indexOf(text.charAt(at)) >= 0) at++;
            String digits = text.substring(start, at);
            if (!digits.matches("-?(0|[1-9][0-9]*)([.][0-9]+)?([eE][+-]?[0-9]+)?")) throw wrong();
            return Double.valueOf(digits);
        }

        private void space() {
            while (at < text.length() && " \t\r\n".indexOf(text.charAt(at)) >= 0) at++;
        }

        private boolean take(char wanted) {
            if (at >= text.length() || text.charAt(at) != wanted) return false;
            at++;
            return true;
        }

        private char peek() {
            if (at >= text.length()) throw wrong();
            return text.charAt(at);
        }

        private static IllegalArgumentException wrong() {
            return new IllegalArgumentException("not JSON");
        }
    }
}
