//! Frames, names, ICE servers and endpoints.

use serde_json::Value;

use crate::wire::limits::{
    ICE_CREDENTIAL_LEN_MAX, ICE_SERVERS_MAX, ICE_URL_LEN_MAX, ICE_URLS_MAX, INBOUND_TEXT_MAX,
    RETRY_AFTER_MAX, TRACK_META_STRING_MAX,
};
use crate::wire::{
    ChannelName, Credential, DirectPayload, Endpoint, IceServer, PeerId, RequestId, Secret, ServerFrame,
    TrackMeta,
};

/// A text message of the server.
pub fn frame(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let Ok(frame) = ServerFrame::parse(&text) else {
        return;
    };
    match frame {
        ServerFrame::Direct { data, .. } | ServerFrame::Message { data, .. } => payload(&data),
        ServerFrame::Presence { joined, left, .. } => {
            for id in joined.iter().map(|(id, _)| id).chain(&left) {
                assert_eq!(PeerId::new(id.as_str()).as_ref(), Ok(id));
            }
        }
        ServerFrame::GoingAway { retry_after } => assert!(retry_after <= RETRY_AFTER_MAX),
        ServerFrame::Welcome(welcome) => {
            assert!((1..=INBOUND_TEXT_MAX).contains(&welcome.max_message_size));
            assert!(welcome.server_time.is_finite() && welcome.expires_at.is_none_or(f64::is_finite));
            assert!(welcome.metadata.is_none_or(|bag| !bag.contains_key("iceServers")));
            welcome.ice_servers.iter().for_each(|list| bounded(list));
        }
        ServerFrame::Error { code, .. } => assert!(!code.is_empty()),
        ServerFrame::Ack { .. } | ServerFrame::Pong => {}
    }
}

/// A payload is sorted in one way only, and what is understood survives being written.
fn payload(data: &Value) {
    let sorted = DirectPayload::classify(data.clone());
    let ours = matches!(sorted, DirectPayload::Data(_));
    assert_ne!(ours, DirectPayload::is_reserved(data));
    match &sorted {
        DirectPayload::Data(value) => assert_eq!(value, data),
        DirectPayload::NearMiss(_) => {}
        DirectPayload::Farewell(session) => {
            assert_eq!(DirectPayload::classify(DirectPayload::farewell(session)), sorted);
        }
        DirectPayload::Signal(signal) => assert_eq!(DirectPayload::classify(signal.to_data()), sorted),
        DirectPayload::TrackMeta(meta) => {
            assert!((1..=TRACK_META_STRING_MAX).contains(&meta.track_id.chars().count()));
            // Whoever clears a track says nothing else about it.
            let said = match meta.metadata {
                Some(_) => meta.clone(),
                None => TrackMeta {
                    kind: None,
                    stream_id: None,
                    ..meta.clone()
                },
            };
            let again = DirectPayload::classify(said.to_data());
            assert_eq!(again, DirectPayload::TrackMeta(said));
        }
    }
}

/// The `iceServers` of a welcome.
pub fn ice_servers(data: &[u8]) {
    if let Ok(list) = serde_json::from_slice::<Value>(data)
        && let Some(servers) = IceServer::parse_list(&list)
    {
        bounded(&servers);
    }
}

fn bounded(servers: &[IceServer]) {
    assert!(servers.len() <= ICE_SERVERS_MAX);
    assert!(servers.iter().map(|server| server.urls.len()).sum::<usize>() <= ICE_URLS_MAX);
    for server in servers {
        assert!(!server.urls.is_empty());
        for url in &server.urls {
            let lower = url.to_ascii_lowercase();
            assert!(
                ["stun:", "stuns:", "turn:", "turns:"]
                    .iter()
                    .any(|scheme| lower.starts_with(scheme))
            );
            assert!(url.encode_utf16().count() <= ICE_URL_LEN_MAX);
        }
        for secret in [&server.username, &server.credential].into_iter().flatten() {
            assert!(secret.expose().encode_utf16().count() <= ICE_CREDENTIAL_LEN_MAX);
        }
    }
}

/// Channel names, peer ids and request ids.
pub fn names(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Ok(name) = ChannelName::new(&text) {
        assert_eq!(
            (name.as_str(), PeerId::new(&text).is_ok()),
            (&*text, text.len() <= PeerId::MAX)
        );
        assert!(!text.is_empty() && text.len() <= ChannelName::MAX && !text.contains(char::is_control));
    }
    if let Ok(id) = PeerId::new(&text) {
        assert_eq!(id.as_str(), text);
        assert!(!text.is_empty() && text.len() <= PeerId::MAX && !text.contains(char::is_control));
    }
    if let Some(id) = RequestId::parse(&text) {
        assert_eq!(id.to_string(), text);
    }
}

/// An endpoint, and behind the first line end a credential.
pub fn endpoint(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (text, credential) = text.split_once('\n').unwrap_or((&text, "pk"));
    let Ok(endpoint) = Endpoint::parse(text) else {
        return;
    };
    assert_eq!(Endpoint::parse(endpoint.as_str()).as_ref(), Ok(&endpoint));
    let secret = || Secret::new(credential.to_owned());
    for (name, credential) in [
        ("key", Credential::ApiKey(secret())),
        ("token", Credential::Token(secret())),
    ] {
        let url = endpoint.connect_url(&credential);
        let url = url::Url::parse(url.expose()).expect("a URL");
        let pairs: Vec<(String, String)> = url.query_pairs().into_owned().collect();
        assert_eq!(pairs, [(name.to_owned(), secret().expose().clone())]);
        assert_eq!((url.path(), url.fragment(), url.username()), ("/v1", None, ""));
        let origin = url::Url::parse(endpoint.as_str()).expect("a URL");
        assert_eq!(
            (url.scheme(), url.host(), url.port()),
            (origin.scheme(), origin.host(), origin.port())
        );
        assert!(matches!(url.scheme(), "ws" | "wss"));
    }
}
