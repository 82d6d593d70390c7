import java.time.Duration;
import java.time.Instant;
import java.time.format.DateTimeFormatter;
import java.time.format.DateTimeFormatterBuilder;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Properties;
import java.util.Set;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.atomic.AtomicReference;
import java.util.stream.IntStream;

import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AdminClientConfig;
import org.apache.kafka.clients.admin.ListConsumerGroupOffsetsOptions;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.TopicDescription;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.header.Headers;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.processor.StreamPartitioner;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;

import static java.nio.charset.StandardCharsets.UTF_8;

/**
 * The pipeline's work on Kafka Streams, written for the least CPU time that the library allows: what {@code make bench}
 * holds the pipeline against.
 *
 * <pre>
 * StreamsLogin BROKERS SOURCE OUTPUT DEAD_LETTERS APPLICATION GUARANTEE THREADS
 *
 * source ──► validate, enrich ──► a sink for each partition of the output
 *                └───── bad ────► a sink for each partition of the dead letters
 * </pre>
 *
 * What was chosen, and why:
 *
 * <ul>
 * <li>The Processor API: a good record passes one processor and one sink. Keys and values stay bytes.
 * <li>A sink for each partition that is written to, since a partitioner is not told where a record came from, and the
 *     source partition p goes to partition p mod n.
 * <li>Producer: idempotent, {@code acks=all}, not compressed, {@code linger.ms} and batches as for librdkafka. Offsets
 *     are committed every second, as the others do; transactions every 100 ms, as the pipeline's are by default.
 * <li>The consumer checks checksums, as the pipeline does.
 * <li>As many records a poll and in waiting as by default: ten times as many took memory and saved nothing.
 * <li>No metrics are sent to the brokers, no reporter for JMX; no store, and so no cache and no folder.
 * </ul>
 *
 * Prints {@code working CPU_MS WALL_MS}, from the first record on, and {@code drained N} when all that was there when it
 * began is acknowledged and committed. Then it waits for the end of its input, so that whoever measures can read its
 * memory and CPU time.
 */
final class StreamsLogin {
    private static final String PREFIX = "__dlq.errors.";
    private static final Duration LOOK_EVERY = Duration.ofMillis(20);

    private final String source;
    private final String application;
    private final Admin admin;
    /** The ends of those source partitions which had more than was committed when this began. */
    private final Map<TopicPartition, Long> ends;
    /** How many records that was. */
    private long there;
    private final CountDownLatch unfinished;
    private final AtomicReference<Spent> began = new AtomicReference<>();

    private StreamsLogin(Admin admin, String source, String application) throws ExecutionException, InterruptedException {
        this.source = source;
        this.application = application;
        this.admin = admin;
        Map<TopicPartition, OffsetSpec> latest = new HashMap<>();
        for (int partition = 0; partition < partitions(source); partition++) {
            latest.put(new TopicPartition(source, partition), OffsetSpec.latest());
        }
        var committed = committed();
        ends = new HashMap<>();
        admin.listOffsets(latest).all().get().forEach((partition, end) -> {
            long start = committed.getOrDefault(partition, 0L);
            if (end.offset() > start) {
                ends.put(partition, end.offset());
                there += end.offset() - start;
            }
        });
        unfinished = new CountDownLatch(ends.size());
    }

    public static void main(String[] arguments) throws Exception {
        if (arguments.length != 7) {
            System.err.println("usage: StreamsLogin BROKERS SOURCE OUTPUT DEAD_LETTERS APPLICATION GUARANTEE THREADS");
            System.exit(2);
        }
        String brokers = arguments[0];
        try (Admin admin = Admin.create(Map.of(AdminClientConfig.BOOTSTRAP_SERVERS_CONFIG, brokers))) {
            StreamsLogin login = new StreamsLogin(admin, arguments[1], arguments[4]);
            Topology topology = login.topology(arguments[2], arguments[3]);
            Properties config = config(brokers, arguments[4], arguments[5], arguments[6]);
            try (KafkaStreams streams = new KafkaStreams(topology, config)) {
                streams.setUncaughtExceptionHandler(error -> {
                    error.printStackTrace();
                    Runtime.getRuntime().halt(1);
                    return null;
                });
                streams.start();
                login.untilCommitted();
                Spent now = Spent.now();
                Spent began = login.began.get();
                Spent spent = now.since(began == null ? now : began); // null where nothing was there
                System.out.printf("working %d %d%ndrained %d%n", spent.cpuMs, spent.wallMs, login.there);
                System.in.readAllBytes();
            }
        }
    }

    private static Properties config(String brokers, String application, String guarantee, String threads) {
        Properties config = new Properties();
        config.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, brokers);
        config.put(StreamsConfig.APPLICATION_ID_CONFIG, application);
        config.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, guarantee);
        config.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, threads);
        config.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, guarantee.equals(StreamsConfig.AT_LEAST_ONCE) ? 1000 : 100);
        config.put(StreamsConfig.ENABLE_METRICS_PUSH_CONFIG, false);
        config.put(StreamsConfig.METRIC_REPORTER_CLASSES_CONFIG, "");
        config.put(StreamsConfig.consumerPrefix(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG), "earliest");
        config.put(StreamsConfig.producerPrefix(ProducerConfig.ACKS_CONFIG), "all");
        config.put(StreamsConfig.producerPrefix(ProducerConfig.ENABLE_IDEMPOTENCE_CONFIG), true);
        config.put(StreamsConfig.producerPrefix(ProducerConfig.COMPRESSION_TYPE_CONFIG), "none");
        config.put(StreamsConfig.producerPrefix(ProducerConfig.LINGER_MS_CONFIG), 100);
        config.put(StreamsConfig.producerPrefix(ProducerConfig.BATCH_SIZE_CONFIG), 1_000_000);
        return config;
    }

    private Topology topology(String output, String dead) throws ExecutionException, InterruptedException {
        Topology topology = new Topology();
        topology.addSource("source", new ByteArrayDeserializer(), new ByteArrayDeserializer(), source);
        List<String> outputs = sinks(output);
        List<String> deads = sinks(dead);
        topology.addProcessor("validate", () -> new Validate(outputs, deads), "source");
        addSinks(topology, output, outputs);
        addSinks(topology, dead, deads);
        return topology;
    }

    private List<String> sinks(String topic) throws ExecutionException, InterruptedException {
        return IntStream.range(0, partitions(topic)).mapToObj(partition -> topic + "-" + partition).toList();
    }

    private static void addSinks(Topology topology, String topic, List<String> sinks) {
        for (int partition = 0; partition < sinks.size(); partition++) {
            Optional<Set<Integer>> only = Optional.of(Set.of(partition));
            StreamPartitioner<byte[], byte[]> partitioner = (name, key, value, partitions) -> only;
            topology.addSink(sinks.get(partition), topic, new ByteArraySerializer(), new ByteArraySerializer(),
                    partitioner, "validate");
        }
    }

    private int partitions(String topic) throws ExecutionException, InterruptedException {
        TopicDescription description = admin.describeTopics(List.of(topic)).allTopicNames().get().get(topic);
        return description.partitions().size();
    }

    /** The application's offsets, without those of open transactions. */
    private Map<TopicPartition, Long> committed() throws ExecutionException, InterruptedException {
        ListConsumerGroupOffsetsOptions stable = new ListConsumerGroupOffsetsOptions().requireStable(true);
        Map<TopicPartition, Long> offsets = new HashMap<>();
        admin.listConsumerGroupOffsets(application, stable).partitionsToOffsetAndMetadata().get()
                .forEach((partition, offset) -> {
                    if (offset != null) {
                        offsets.put(partition, offset.offset());
                    }
                });
        return offsets;
    }

    private void untilCommitted() throws ExecutionException, InterruptedException {
        unfinished.await();
        boolean all = false;
        while (!all) {
            Thread.sleep(LOOK_EVERY.toMillis());
            var committed = committed();
            all = ends.entrySet().stream().allMatch(end -> committed.getOrDefault(end.getKey(), 0L) >= end.getValue());
        }
    }

    /** What the process has spent so far, JVM and all. */
    private record Spent(long cpuMs, long wallMs) {
        static Spent now() {
            Duration cpu = ProcessHandle.current().info().totalCpuDuration().orElseThrow();
            return new Spent(cpu.toMillis(), System.nanoTime() / 1_000_000);
        }

        Spent since(Spent earlier) {
            return new Spent(cpuMs - earlier.cpuMs, wallMs - earlier.wallMs);
        }
    }

    /** Sends good records on with what enrichment adds, bad ones with the reason. One for each source partition. */
    private final class Validate implements Processor<byte[], byte[], byte[], byte[]> {
        private final List<String> outputs;
        private final List<String> deads;
        private final LoginEvent event = new LoginEvent();
        private final Clock clock = new Clock();
        private ProcessorContext<byte[], byte[]> context;
        private int partition;
        private String output;
        private String dead;
        private long last;

        Validate(List<String> outputs, List<String> deads) {
            this.outputs = outputs;
            this.deads = deads;
        }

        @Override
        public void init(ProcessorContext<byte[], byte[]> context) {
            this.context = context;
            partition = context.taskId().partition();
            output = outputs.get(partition % outputs.size());
            dead = deads.get(partition % deads.size());
            last = ends.getOrDefault(new TopicPartition(source, partition), 0L) - 1;
        }

        @Override
        public void process(Record<byte[], byte[]> record) {
            if (began.getPlain() == null) {
                began.compareAndSet(null, Spent.now());
            }
            long offset = context.recordMetadata().orElseThrow().offset();
            if (event.parse(record.value())) {
                clock.tick();
                byte[] value = event.enriched(clock.json, Math.max(clock.unixMs - event.timestampMs(), 0));
                context.forward(record.withValue(value), output);
            } else {
                sayWhy(record, offset);
                context.forward(record.withTimestamp(System.currentTimeMillis()), dead);
            }
            if (offset == last) {
                context.commit(); // nothing is to come that the next commit could wait for
                unfinished.countDown();
            }
        }

        private void sayWhy(Record<byte[], byte[]> record, long offset) {
            Headers headers = record.headers();
            add(headers, "topic", source);
            add(headers, "partition", Integer.toString(partition));
            add(headers, "offset", Long.toString(offset));
            add(headers, "timestamp", Long.toString(record.timestamp()));
            add(headers, "reason", event.reason());
            if (event.field() != null) {
                add(headers, "field", event.field());
            }
            add(headers, "message", "the record breaks a rule");
            add(headers, "stage", "validate");
            add(headers, "application", "login-pipeline");
            add(headers, "version", "bench");
            add(headers, "replay.count", "0");
        }

        private static void add(Headers headers, String name, String value) {
            headers.add(PREFIX + name, value.getBytes(UTF_8));
        }
    }

    /** The time, and its text in JSON, which is made once a millisecond. */
    private static final class Clock {
        private static final DateTimeFormatter MILLISECONDS = new DateTimeFormatterBuilder().appendInstant(3).toFormatter();

        private long unixMs;
        private byte[] json;

        void tick() {
            long now = System.currentTimeMillis();
            if (now != unixMs) {
                unixMs = now;
                json = ('"' + MILLISECONDS.format(Instant.ofEpochMilli(now)) + '"').getBytes(UTF_8);
            }
        }
    }
}
