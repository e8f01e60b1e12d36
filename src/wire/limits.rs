//! Every number of the service protocol and of our own caps, in one place. Each has its unit and its reason.
//!
//! Values marked *interop* are what the vendor's SDKs use; a client that differs is noticed. The others are ours.

use std::time::Duration;

/// Origin of the public service. *Interop.*
pub const DEFAULT_ENDPOINT: &str = "wss://rms.metered.ca";

/// Path of the WebSocket below the origin. *Interop.*
pub const CONNECT_PATH: &str = "/v1";

/// From the start of an attempt to its welcome: covers DNS, TCP, TLS and upgrade. *Interop.*
pub const WELCOME_TIMEOUT: Duration = Duration::from_secs(10);

/// From the sending of a request to its ack. *Interop.*
pub const ACK_TIMEOUT: Duration = Duration::from_secs(15);

/// What a token provider may take unless the application says otherwise. *Interop.*
pub const TOKEN_TIMEOUT: Duration = Duration::from_secs(10);

/// So many failures of the token provider in a row are told to the application. *Interop.*
pub const TOKEN_FAILURES_TOLD: u32 = 3;

/// So many refusals (HTTP 401/403) of fresh tokens in a row end the client: a fourth token will not be better.
pub const AUTH_REFUSALS_MAX: u32 = 3;

/// Silence after which the connection is taken for dead. *Interop.*
pub const INACTIVITY_WINDOW: Duration = Duration::from_secs(60);

/// The heartbeat is the inactivity window divided by this. *Interop.*
pub const HEARTBEATS_PER_WINDOW: u32 = 3;

/// No heartbeat is faster than this, however short the window. *Interop.*
pub const HEARTBEAT_MIN: Duration = Duration::from_secs(1);

/// How long the server may take to show that it is there, after the addresses of this machine have changed.
pub const ADDRESS_PROBE: Duration = Duration::from_secs(3);

/// Longest time limit an application can set; keeps sums of times within what a clock can count.
pub const TIME_LIMIT_MAX: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// What the closing handshake may take before the TCP connection is dropped. *Interop.*
pub const CLOSE_FLUSH: Duration = Duration::from_secs(1);

/// Between the starts of connection attempts to the addresses of a server (RFC 8305).
pub const CONNECT_STAGGER: Duration = Duration::from_millis(250);

/// What the resolution of a candidate's `.local` name may take. A candidate that comes later is of no use.
pub const MDNS_TIMEOUT: Duration = Duration::from_secs(2);

/// Longest token a command may print, in bytes; the service's URL limit is far below.
pub const TOKEN_OUTPUT_MAX: u64 = 65_536;

/// What a token command may take before it is killed, whatever the machine still expects.
pub const TOKEN_COMMAND_MAX: Duration = Duration::from_secs(60);

/// Bytes that may wait inside one socket: more than a burst of the largest frames. Beyond that the network has not
/// taken anything for so long that the connection is of no use.
pub const SOCKET_QUEUE_BYTES: usize = 16 * 1024 * 1024;

/// Facts of the network that wait for the machine; a full queue slows reading down, never the machine.
pub const FACT_QUEUE: usize = 256;

/// Largest inbound text frame, in bytes; larger ones close the connection with 1009. *Interop.*
pub const INBOUND_TEXT_MAX: usize = 1_048_576;

/// The server's limit for our frames, in bytes, until a welcome says otherwise. *Interop.*
pub const MAX_MESSAGE_SIZE_FALLBACK: usize = 65_536;

/// First reconnect delay. *Interop.*
pub const BACKOFF_INITIAL: Duration = Duration::from_millis(500);

/// Growth of the delay per attempt. *Interop.*
pub const BACKOFF_MULTIPLIER: f64 = 2.0;

/// Longest delay before jitter. *Interop.*
pub const BACKOFF_MAX: Duration = Duration::from_secs(30);

/// Share of the delay that is random, to both sides. *Interop.*
pub const BACKOFF_JITTER: f64 = 0.2;

/// Attempts until the client gives up. *Interop.*
pub const BACKOFF_ATTEMPTS: u32 = 100;

/// Least delay after "over concurrent limit" and after HTTP 429: the limit counts connections per minute. *Interop.*
pub const SLOW_FLOOR: Duration = Duration::from_secs(30);

/// Longest delay a server can ask for (`retryAfterMs`, `Retry-After`). *Interop.*
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(300);

/// `retryAfterMs` of a `going_away` that names none. *Interop.*
pub const RETRY_AFTER_DEFAULT: Duration = Duration::from_secs(1);

/// A connection that lived this long resets the attempt counter. Resetting it on the welcome would hit a server that
/// welcomes and drops every half second.
pub const STABLE_AFTER: Duration = Duration::from_secs(5);

/// Retries of a failed replay of a subscription, per channel and connection. *Interop.*
pub const REPLAY_RETRIES: u32 = 3;

/// Between two of them. *Interop.*
pub const REPLAY_SPACING: Duration = Duration::from_secs(2);

/// Outbound frames per second. The server closes with 4011 above 100.
pub const PACE_RATE: f64 = 80.0;

/// Outbound frames at once. The server closes with 4011 above 200.
pub const PACE_BURST: f64 = 150.0;

/// The rate is halved after each 4011, down to this.
pub const PACE_RATE_MIN: f64 = 10.0;

/// Signalling frames that may wait for their turn; at 80/s the last one would already be late for any negotiation.
pub const PACE_SIGNALS_MAX: usize = 4096;

/// Subscriptions that may wait for their turn: far more than the 100 channels a connection may have.
pub const PACE_CONTROL_MAX: usize = 1024;

/// Application frames that may wait for their turn; more are refused to the caller.
pub const PACE_DATA_MAX: usize = 1024;

/// Events that wait for an application that does not take them; then the oldest are dropped. *Interop.*
pub const EVENTS_MAX: usize = 4096;

/// Bytes of the frames behind them. Without it, events of the largest frames would fill gigabytes.
pub const EVENT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// From the welcome of a reconnect to the list of members. *Interop.*
pub const RECONCILE_DEADLINE: Duration = Duration::from_secs(10);

/// So often the list is asked for again before the application is told. *Interop.*
pub const RECONCILE_RESUBSCRIBES: u32 = 2;

/// Between further requests for it: a room that must stay for months does not stop asking.
pub const RECONCILE_PATIENCE: Duration = Duration::from_secs(30);

/// Members of a room besides us. *Interop.*
pub const PEERS_MAX: usize = 256;

/// Entries of `iceServers`. *Interop.*
pub const ICE_SERVERS_MAX: usize = 16;

/// URLs over all entries of `iceServers`: the SDKs have no limit, a hostile list must have one.
pub const ICE_URLS_MAX: usize = 64;

/// Characters (UTF-16 units, as browsers count) of one ICE server URL. *Interop.*
pub const ICE_URL_LEN_MAX: usize = 512;

/// Characters (UTF-16 units) of a TURN user name or password. *Interop.*
pub const ICE_CREDENTIAL_LEN_MAX: usize = 1024;

/// Characters of a string inside an inbound candidate. *Interop.*
pub const CANDIDATE_STRING_MAX: usize = 1000;

/// Bytes of an inbound SDP. The frame limit of the service keeps real ones far below.
pub const SDP_MAX: usize = 262_144;

/// Characters of `trackId`, `streamId` and `kind` in track metadata. *Interop* for the latter two; a longer track id
/// could never match an `a=msid`.
pub const TRACK_META_STRING_MAX: usize = 256;

/// Tracks whose metadata is kept per remote peer, oldest out first. *Interop.*
pub const TRACK_META_ENTRIES: usize = 512;

/// Bytes of track metadata kept per remote peer, oldest out first: 512 bags of the largest frame would be 32 MiB from
/// one peer. Sixteen such frames fit.
pub const TRACK_META_BYTES_MAX: usize = 1_048_576;

/// How long signals of a sender whom presence has not announced yet are kept.
pub const EARLY_HOLD: Duration = Duration::from_secs(5);

/// Senders whose early signals are kept.
pub const EARLY_SENDERS_MAX: usize = 32;

/// Early signals kept per sender.
pub const EARLY_FRAMES_MAX: usize = 64;

/// Bytes of early signals kept per sender.
pub const EARLY_BYTES_MAX: usize = 262_144;
