//! Layer 0: bytes to types and back. No state, no time, no IO, no GStreamer.

pub mod close;
pub mod endpoint;
pub mod envelope;
pub mod frame;
pub mod ice_server;
pub mod ice_url;
pub mod ids;
pub mod limits;
pub mod rtc;
pub mod secret;

pub use close::{CloseCode, Disposition};
pub use endpoint::{Credential, Endpoint, EndpointError};
pub use envelope::DirectPayload;
pub use frame::{ClientFrame, FrameError, ServerFrame, Welcome};
pub use ice_server::IceServer;
pub use ice_url::{IceScheme, IceTransport, IceUrl, IceUrlError};
pub use ids::{ChannelName, NameError, PeerId, RequestId};
pub use rtc::{IceCandidate, RtcSignal, SdpKind, TrackMeta};
pub use secret::{Secret, scrub};

/// A bag of metadata: an inert JSON object nobody but the application interprets.
pub type Metadata = serde_json::Map<String, serde_json::Value>;
