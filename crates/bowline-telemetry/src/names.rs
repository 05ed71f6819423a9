//! The names of metrics and attributes, each written once.
//!
//! Attributes follow the OpenTelemetry semantic conventions where these have a name.

// === metrics ===

/// Requests answered; labels `reporter`, `service`, `route`, `code`.
pub const REQUESTS_TOTAL: &str = "bowline_requests_total";
/// Attempts to call an instance; labels `reporter`, `service`, `outcome`, `callee_version`.
pub const ATTEMPTS_TOTAL: &str = "bowline_attempts_total";
/// How long requests took; the labels of [`REQUESTS_TOTAL`].
pub const REQUEST_DURATION_SECONDS: &str = "bowline_request_duration_seconds";
/// How long messages were worked on; labels `topic`, `group`, `outcome`.
pub const MESSAGE_DURATION_SECONDS: &str = "bowline_message_duration_seconds";
/// Spans that were dropped before they left the process; label `reason`.
pub const SPANS_DROPPED_TOTAL: &str = "bowline_spans_dropped_total";
/// Spans that wait for their reporter.
pub const SPANS_QUEUED: &str = "bowline_spans_queued";

/// Label: who counts, `gateway`, `client` or `server`.
pub const LABEL_REPORTER: &str = "reporter";
/// Label: the service that was called.
pub const LABEL_SERVICE: &str = "service";
/// Label: the route it came by.
pub const LABEL_ROUTE: &str = "route";
/// Label: the status it was answered with.
pub const LABEL_CODE: &str = "code";
/// Label: what came of an attempt.
pub const LABEL_OUTCOME: &str = "outcome";
/// Label: the release that whoever counts is of; none where it says no version.
pub const LABEL_VERSION: &str = "version";
/// Label: the release of the instance that was called; none where it says no version.
pub const LABEL_CALLEE_VERSION: &str = "callee_version";

// === attributes ===

/// The method, as `GET`.
pub const HTTP_REQUEST_METHOD: &str = "http.request.method";
/// The matched path template, as `/orders/{id}`.
pub const HTTP_ROUTE: &str = "http.route";
/// The status of the answer.
pub const HTTP_RESPONSE_STATUS_CODE: &str = "http.response.status_code";
/// The path, without query.
pub const URL_PATH: &str = "url.path";
/// `http` or `https`.
pub const URL_SCHEME: &str = "url.scheme";
/// The host that was asked for.
pub const SERVER_ADDRESS: &str = "server.address";
/// The port that was asked for.
pub const SERVER_PORT: &str = "server.port";
/// Who asked.
pub const CLIENT_ADDRESS: &str = "client.address";
/// `1.1` or `2`.
pub const NETWORK_PROTOCOL_VERSION: &str = "network.protocol.version";
/// What kind of failure, of low cardinality.
pub const ERROR_TYPE: &str = "error.type";
/// The message of an exception event.
pub const EXCEPTION_MESSAGE: &str = "exception.message";
/// The service that a span of a caller calls.
pub const PEER_SERVICE: &str = "peer.service";

/// What keeps the database that a span of a caller asks: `sqlite`, `postgresql`.
pub const DB_SYSTEM_NAME: &str = "db.system.name";
/// The database, by the name it has in `bowline.toml`: `order.db`.
pub const DB_NAMESPACE: &str = "db.namespace";
/// The table.
pub const DB_COLLECTION_NAME: &str = "db.collection.name";
/// What is done to it: `SELECT`.
pub const DB_OPERATION_NAME: &str = "db.operation.name";

/// What brings a message: `bowline`.
pub const MESSAGING_SYSTEM: &str = "messaging.system";
/// The topic that a message passes through.
pub const MESSAGING_DESTINATION_NAME: &str = "messaging.destination.name";
/// What is done with it: `send`, `process`.
pub const MESSAGING_OPERATION_TYPE: &str = "messaging.operation.type";
/// Its id.
pub const MESSAGING_MESSAGE_ID: &str = "messaging.message.id";
/// The group that gets it.
pub const MESSAGING_CONSUMER_GROUP_NAME: &str = "messaging.consumer.group.name";

/// The service that a foreign SDK reports for, in its resource.
pub const SERVICE_NAME: &str = "service.name";
/// The instance of that service.
pub const SERVICE_INSTANCE_ID: &str = "service.instance.id";
/// The library that made a foreign span.
pub const OTEL_SCOPE_NAME: &str = "otel.scope.name";
/// Its version.
pub const OTEL_SCOPE_VERSION: &str = "otel.scope.version";
/// What the callers of a foreign span passed on in `tracestate`.
pub const W3C_TRACESTATE: &str = "w3c.tracestate";

/// The gateway's route that matched.
pub const BOWLINE_ROUTE: &str = "bowline.route";
/// The service that a backend of the route names.
pub const BOWLINE_BACKEND: &str = "bowline.backend";
/// Which attempt, from 1.
pub const BOWLINE_ATTEMPT: &str = "bowline.attempt";
/// How many attempts there were.
pub const BOWLINE_ATTEMPTS: &str = "bowline.attempts";
/// The instance that was picked.
pub const BOWLINE_INSTANCE: &str = "bowline.instance";
/// Its version, where the calls to its service are split between versions.
pub const BOWLINE_VERSION: &str = "bowline.version";
/// Its address.
pub const BOWLINE_ADDRESS: &str = "bowline.address";
/// Why Bowline itself answered, or gave up an attempt: the value of `x-bowline-reason`.
pub const BOWLINE_REASON: &str = "bowline.reason";
/// Why a policy's own answer was given in the place of an instance's.
pub const BOWLINE_FALLBACK: &str = "bowline.fallback";
/// What came of an attempt.
pub const BOWLINE_OUTCOME: &str = "bowline.outcome";
/// How long an attempt took, in nanoseconds.
pub const BOWLINE_DURATION_NANOS: &str = "bowline.duration_nanos";
/// The provider that knows who called.
pub const BOWLINE_AUTH: &str = "bowline.auth";
/// Who called, as that provider knows it; never a credential.
pub const ENDUSER_ID: &str = "enduser.id";
/// What a limit decided: `allowed`, `refused`.
pub const BOWLINE_LIMIT: &str = "bowline.limit";
/// How many more the limit would have let through.
pub const BOWLINE_LIMIT_REMAINING: &str = "bowline.limit_remaining";
/// The request's `x-request-id`.
pub const BOWLINE_REQUEST_ID: &str = "bowline.request_id";
/// The workload of the mesh that asks: `service/order`; `unknown` of who came without a certificate.
pub const BOWLINE_CALLER: &str = "bowline.caller";
/// The rule of the mesh that let a request pass, or that it breaks.
pub const BOWLINE_RULE: &str = "bowline.rule";
/// What a dry run of the mesh's rules would have done: `denied`.
pub const BOWLINE_DRY_RUN: &str = "bowline.dry_run";
/// The fault that befell a request on purpose.
pub const BOWLINE_FAULT: &str = "bowline.fault";
/// How long that held it up, in milliseconds.
pub const BOWLINE_FAULT_DELAY_MS: &str = "bowline.fault.delay_ms";
/// The status that it was answered with in the place of the service.
pub const BOWLINE_FAULT_ABORT: &str = "bowline.fault.abort";
/// How many attributes and events a span had to drop at its bounds.
pub const BOWLINE_DROPPED: &str = "bowline.dropped";

/// The event of one attempt.
pub const EVENT_ATTEMPT: &str = "attempt";
/// The event of a fault that was injected.
pub const EVENT_FAULT: &str = "fault";

// === headers ===

/// Says in every answer of Bowline which trace it belongs to.
pub const TRACE_ID_HEADER: &str = "x-trace-id";
/// Says why Bowline itself answered.
pub const REASON_HEADER: &str = "x-bowline-reason";
/// Tells a service who asks, as the gateway made sure of it; what a client says under this name is taken away.
pub const SUBJECT_HEADER: &str = "x-bowline-subject";
/// Tells a service which workload of the mesh asks, as its certificate says: `service/order`.
pub const CALLER_HEADER: &str = "x-bowline-caller";
/// Why an answer is a policy's own, and no instance's.
pub const FALLBACK_HEADER: &str = "x-bowline-fallback";
/// Marks a request as a copy of one that another instance answers; the value is `1`.
pub const MIRROR_HEADER: &str = "x-bowline-mirror";
