import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.CharacterCodingException;
import java.util.Arrays;
import java.util.HashSet;
import java.util.Locale;
import java.util.Set;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonGenerator;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.core.JsonToken;
import com.fasterxml.jackson.core.StreamReadConstraints;
import com.fasterxml.jackson.core.exc.StreamConstraintsException;
import com.fasterxml.jackson.core.json.JsonWriteFeature;

import static java.nio.charset.StandardCharsets.UTF_8;

/**
 * The login event as Jackson's streaming parser reads it: one pass, no text made of what is only checked. What is written
 * are the record's own bytes with the new members let in, so that fields which nobody knows are kept as they came.
 *
 * <p>One is used for many records, by one thread. Its rules are the pipeline's, but that Jackson takes no name with half
 * of a surrogate pair, and that an array may nest 128 deep before it is told to be no object.
 */
final class LoginEvent {
    /** Whole seconds lie below this, milliseconds at or above it. */
    private static final long FIRST_MILLISECONDS = 100_000_000_000L;
    /** The first millisecond behind the year 2100. */
    private static final long FIRST_BEYOND = 4_133_980_800_000L;

    // The fields, in the order in which their rules are checked. The last two have none.
    private static final int USER_ID = 0;
    private static final int APP_VERSION = 1;
    private static final int DEVICE_TYPE = 2;
    private static final int IP = 3;
    private static final int LOCALE = 4;
    private static final int DEVICE_ID = 5;
    private static final int TIMESTAMP = 6;
    private static final int PROCESSED_AT = 7;
    private static final int LATENCY_MS = 8;
    private static final String[] NAMES = {"user_id", "app_version", "device_type", "ip", "locale", "device_id",
        "timestamp", "processed_at", "latency_ms"};
    private static final int WITH_RULES = PROCESSED_AT;
    /** Those that enrichment writes, in the order in which they follow where they are not there. */
    private static final int[] ADDED = {DEVICE_TYPE, PROCESSED_AT, LATENCY_MS};

    /** What is written of a field that is not there, before its value. */
    private static final byte[][] OPENINGS =
        Arrays.stream(NAMES).map(name -> (",\"" + name + "\":").getBytes(UTF_8)).toArray(byte[][]::new);
    private static final byte[] UNKNOWN = "\"unknown\"".getBytes(UTF_8);

    // What is wrong with a field's value; null is nothing.
    private static final String MISSING = "missing_field";
    private static final String WRONG_TYPE = "wrong_type";
    private static final String INVALID = "invalid_value";

    private static final JsonFactory JSON = JsonFactory.builder()
        .streamReadConstraints(StreamReadConstraints.builder().maxNestingDepth(128).maxStringLength(Integer.MAX_VALUE)
            .maxNameLength(Integer.MAX_VALUE).maxNumberLength(Integer.MAX_VALUE).build())
        .disable(JsonWriteFeature.WRITE_HEX_UPPER_CASE)
        .build();
    private static final VarHandle EIGHT = MethodHandles.byteArrayViewVarHandle(long[].class, ByteOrder.LITTLE_ENDIAN);

    private byte[] value;
    private final String[] wrong = new String[NAMES.length];
    /** Spans of the values that may be replaced; a start of 0 is none, since no value stands at 0. */
    private final int[] starts = new int[NAMES.length];
    private final int[] ends = new int[NAMES.length];
    /** The value of device_type to write; null where it stays as it came. */
    private byte[] deviceType;
    private long timestampMs;
    private String reason;
    private String field;

    private byte[] out = new byte[1024];
    private int length;

    /** Reads a record's value; false where it breaks a rule, which {@link #reason} and {@link #field} tell then. */
    boolean parse(byte[] value) {
        this.value = value;
        field = null;
        reason = whole(value);
        for (int n = 0; reason == null && n < WITH_RULES; n++) {
            if (wrong[n] != null) {
                reason = wrong[n];
                field = NAMES[n];
            }
        }
        return reason == null;
    }

    String reason() {
        return reason;
    }

    /** The field that breaks the rule, or null. */
    String field() {
        return field;
    }

    long timestampMs() {
        return timestampMs;
    }

    /** Reads all fields; returns what is wrong with the event as a whole, or null. */
    private String whole(byte[] value) {
        if (value == null || value.length == 0) {
            return "tombstone";
        }
        if (!isUtf8(value)) {
            return "invalid_utf8";
        }
        // Jackson would take it for UTF-16 or UTF-32, or skip a byte order mark.
        if (value[0] == 0 || value.length > 1 && value[1] == 0 || value[0] == (byte) 0xef) {
            return "malformed_json";
        }
        try (JsonParser parser = JSON.createParser(value)) {
            JsonToken first = parser.nextToken();
            if (first == JsonToken.START_OBJECT) {
                return members(parser);
            }
            if (first != null) {
                parser.skipChildren();
            }
            return first != null && parser.nextToken() == null ? "not_an_object" : "malformed_json";
        } catch (StreamConstraintsException error) {
            return "too_deep";
        } catch (JsonProcessingException error) {
            return "malformed_json";
        } catch (IOException error) {
            throw new UncheckedIOException(error); // of an array of bytes
        }
    }

    private String members(JsonParser parser) throws IOException {
        Arrays.fill(wrong, 0, WITH_RULES, MISSING);
        Arrays.fill(starts, 0);
        wrong[DEVICE_TYPE] = null;
        deviceType = UNKNOWN;
        int met = 0;
        boolean twice = false;
        String duplicate = null;
        Set<String> others = null;
        for (String name = parser.nextFieldName(); name != null; name = parser.nextFieldName()) {
            JsonToken token = parser.nextToken();
            int known = fieldOf(name);
            if (known < 0) {
                others = others == null ? new HashSet<>() : others;
                twice |= !others.add(name);
                parser.skipChildren();
                continue;
            }
            if ((met & 1 << known) != 0 && !twice) {
                twice = true;
                duplicate = NAMES[known];
            }
            met |= 1 << known;
            read(parser, token, known);
        }
        if (parser.currentToken() != JsonToken.END_OBJECT || parser.nextToken() != null) {
            return "malformed_json";
        }
        field = duplicate;
        return twice ? "duplicate_field" : null;
    }

    private static int fieldOf(String name) {
        return switch (name) {
            case "user_id" -> USER_ID;
            case "app_version" -> APP_VERSION;
            case "device_type" -> DEVICE_TYPE;
            case "ip" -> IP;
            case "locale" -> LOCALE;
            case "device_id" -> DEVICE_ID;
            case "timestamp" -> TIMESTAMP;
            case "processed_at" -> PROCESSED_AT;
            case "latency_ms" -> LATENCY_MS;
            default -> -1;
        };
    }

    private void read(JsonParser parser, JsonToken token, int field) throws IOException {
        switch (field) {
            case USER_ID, DEVICE_ID -> wrong[field] = text(parser, token, 256);
            case LOCALE -> wrong[field] = text(parser, token, 35);
            case APP_VERSION -> {
                wrong[field] = text(parser, token, 64);
                if (wrong[field] == null && !isVersion(parser)) {
                    wrong[field] = INVALID;
                }
            }
            case IP -> {
                wrong[field] = text(parser, token, 256);
                if (wrong[field] == null && !isIp(parser)) {
                    wrong[field] = INVALID;
                }
            }
            case TIMESTAMP -> wrong[field] = timestamp(parser, token);
            case DEVICE_TYPE -> {
                starts[field] = at(parser);
                wrong[field] = deviceType(parser, token);
                ends[field] = behind(parser);
            }
            default -> {
                starts[field] = at(parser);
                parser.skipChildren();
                parser.finishToken();
                ends[field] = behind(parser);
            }
        }
    }

    /** The offset of the token's first byte. */
    private static int at(JsonParser parser) {
        return (int) parser.currentTokenLocation().getByteOffset();
    }

    /** The offset behind the token, which must be read to its end. */
    private static int behind(JsonParser parser) {
        return (int) parser.currentLocation().getByteOffset();
    }

    /** Checks a text of 1 to {@code most} bytes. */
    private static String text(JsonParser parser, JsonToken token, int most) throws IOException {
        if (token == JsonToken.VALUE_NULL) {
            return MISSING;
        }
        if (token != JsonToken.VALUE_STRING) {
            parser.skipChildren();
            return WRONG_TYPE;
        }
        int bytes = bytesOf(parser);
        return 1 <= bytes && bytes <= most ? null : INVALID;
    }

    private String deviceType(JsonParser parser, JsonToken token) throws IOException {
        if (token == JsonToken.VALUE_NULL) {
            return null;
        }
        if (token != JsonToken.VALUE_STRING) {
            parser.skipChildren();
            return WRONG_TYPE;
        }
        int bytes = bytesOf(parser);
        if (bytes < 0 || bytes > 256) {
            return INVALID;
        }
        if (bytes > 0) {
            String text = parser.getText();
            String lower = text.toLowerCase(Locale.ROOT); // itself where it is lower already
            deviceType = lower.equals(text) ? null : quoted(lower);
        }
        return null;
    }

    private static byte[] quoted(String text) throws IOException {
        ByteArrayOutputStream quoted = new ByteArrayOutputStream(text.length() + 2);
        try (JsonGenerator generator = JSON.createGenerator(quoted)) {
            generator.writeString(text);
        }
        return quoted.toByteArray();
    }

    private String timestamp(JsonParser parser, JsonToken token) throws IOException {
        if (token == JsonToken.VALUE_NULL) {
            return MISSING;
        }
        if (token != JsonToken.VALUE_STRING && token != JsonToken.VALUE_NUMBER_INT) {
            parser.skipChildren();
            return WRONG_TYPE;
        }
        int count = parser.getTextLength();
        int start = parser.getTextOffset();
        char[] text = parser.getTextCharacters();
        long number = 0;
        for (int n = start; n < start + count; n++) {
            int digit = text[n] - '0';
            if (digit < 0 || digit > 9 || number >= FIRST_BEYOND) {
                return INVALID;
            }
            number = number * 10 + digit;
        }
        timestampMs = number < FIRST_MILLISECONDS ? number * 1000 : number;
        return 1 <= timestampMs && timestampMs < FIRST_BEYOND ? null : INVALID;
    }

    /** How many bytes of UTF-8 the token's text has; -1 where it holds half of a surrogate pair. */
    private static int bytesOf(JsonParser parser) throws IOException {
        int count = parser.getTextLength();
        int start = parser.getTextOffset();
        char[] text = parser.getTextCharacters();
        int bytes = count;
        for (int n = start; n < start + count; n++) {
            char unit = text[n];
            if (unit < 0x80) {
                continue;
            }
            bytes += unit < 0x800 ? 1 : 2;
            if (Character.isSurrogate(unit)) {
                n++;
                if (Character.isLowSurrogate(unit) || n == start + count || !Character.isLowSurrogate(text[n])) {
                    return -1;
                }
            }
        }
        return bytes;
    }

    /** {@code major.minor[.patch[.build]]}. */
    private static boolean isVersion(JsonParser parser) throws IOException {
        int start = parser.getTextOffset();
        int end = start + parser.getTextLength();
        char[] text = parser.getTextCharacters();
        int dots = 0;
        int digits = 0;
        for (int n = start; n < end; n++) {
            if ('0' <= text[n] && text[n] <= '9') {
                digits++;
            } else if (text[n] == '.' && digits > 0) {
                dots++;
                digits = 0;
            } else {
                return false;
            }
        }
        return digits > 0 && 1 <= dots && dots <= 3;
    }

    private static boolean isIp(JsonParser parser) throws IOException {
        int start = parser.getTextOffset();
        int end = start + parser.getTextLength();
        char[] text = parser.getTextCharacters();
        return isIpv4(text, start, end) || isIpv6(text, start, end);
    }

    /** Four numbers up to 255 without leading zeros. */
    private static boolean isIpv4(char[] text, int start, int end) {
        int numbers = 0;
        int digits = 0;
        int number = 0;
        for (int n = start; n < end; n++) {
            if (text[n] == '.') {
                if (digits == 0 || ++numbers > 3) {
                    return false;
                }
                digits = 0;
                number = 0;
                continue;
            }
            int digit = text[n] - '0';
            if (digit < 0 || digit > 9 || digits > 0 && number == 0) {
                return false;
            }
            number = number * 10 + digit;
            digits++;
            if (number > 255) {
                return false;
            }
        }
        return numbers == 3 && digits > 0;
    }

    /** Eight groups, or fewer with a gap; the last two may be an IPv4 address. */
    private static boolean isIpv6(char[] text, int start, int end) {
        int groups = 0;
        int at = start;
        boolean gap = end - at >= 2 && text[at] == ':' && text[at + 1] == ':';
        if (gap) {
            at += 2;
        }
        while (at < end) {
            int group = at;
            while (at < end && Character.digit(text[at], 16) >= 0 && text[at] < 0x80) {
                at++;
            }
            if (at < end && text[at] == '.') {
                groups += 2;
                return isIpv4(text, group, end) && (gap ? groups <= 7 : groups == 8);
            }
            groups++;
            if (at == group || at - group > 4) {
                return false;
            }
            if (at == end) {
                break;
            }
            if (text[at] != ':' || at + 1 == end) {
                return false;
            }
            at++;
            if (text[at] == ':') {
                if (gap) {
                    return false;
                }
                gap = true;
                at++;
            }
        }
        return gap ? groups <= 7 : groups == 8;
    }

    /** Tells ASCII, which nearly all events are, by eight bytes at a time, and decodes what is not. */
    private static boolean isUtf8(byte[] value) {
        int at = 0;
        long high = 0;
        for (; at <= value.length - 8; at += 8) {
            high |= (long) EIGHT.get(value, at);
        }
        for (; at < value.length; at++) {
            high |= value[at];
        }
        if ((high & 0x8080_8080_8080_8080L) == 0) {
            return true;
        }
        try {
            UTF_8.newDecoder().decode(ByteBuffer.wrap(value));
            return true;
        } catch (CharacterCodingException error) {
            return false;
        }
    }

    /** The event with its enriched fields, every other byte as it came. */
    byte[] enriched(byte[] processedAt, long latencyMs) {
        byte[] latency = Long.toString(latencyMs).getBytes(UTF_8);
        length = 0;
        int copied = 0;
        for (int field = next(0); field >= 0; field = next(copied)) {
            put(value, copied, starts[field]);
            byte[] member = member(field, processedAt, latency);
            if (member == null) {
                put(value, starts[field], ends[field]);
            } else {
                put(member, 0, member.length);
            }
            copied = ends[field];
        }
        int close = value.length - 1;
        while (value[close] != '}') {
            close--; // white space
        }
        put(value, copied, close);
        for (int field : ADDED) {
            if (starts[field] == 0) {
                put(OPENINGS[field], 0, OPENINGS[field].length);
                byte[] member = member(field, processedAt, latency);
                put(member, 0, member.length);
            }
        }
        put(value, close, value.length);
        return Arrays.copyOf(out, length);
    }

    /** The first of the fields that are there from a place on; -1 where there is none. */
    private int next(int from) {
        int next = -1;
        for (int field : ADDED) {
            if (starts[field] > from && (next < 0 || starts[field] < starts[next])) {
                next = field;
            }
        }
        return next;
    }

    private byte[] member(int field, byte[] processedAt, byte[] latency) {
        return switch (field) {
            case DEVICE_TYPE -> deviceType;
            case PROCESSED_AT -> processedAt;
            default -> latency;
        };
    }

    private void put(byte[] from, int start, int end) {
        int count = end - start;
        if (count > out.length - length) {
            out = Arrays.copyOf(out, Math.max(out.length * 2, length + count));
        }
        System.arraycopy(from, start, out, length, count);
        length += count;
    }
}
