//! The laws of the wire, for random values that are nearly right.

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::wire::limits::{ICE_CREDENTIAL_LEN_MAX, ICE_SERVERS_MAX, ICE_URL_LEN_MAX, ICE_URLS_MAX};
use crate::wire::{
    ChannelName, ClientFrame, Credential, Endpoint, IceServer, PeerId, RequestId, Secret, ServerFrame,
};

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map("[a-z]{1,4}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// Names as the service takes them; control characters do not occur in them.
fn name() -> impl Strategy<Value = String> {
    "[a-zA-Z0-9/:. \\-äß\"\\\\]{1,40}"
}

fn print(frame: &ServerFrame) -> Value {
    match frame {
        ServerFrame::Ack { request_id } => json!({"type": "ack", "requestId": request_id}),
        ServerFrame::Direct {
            from,
            from_metadata,
            data,
        } => {
            json!({"type": "direct", "from": from, "fromMetadata": from_metadata, "data": data})
        }
        ServerFrame::Error {
            code,
            message,
            request_id,
        } => {
            json!({"type": "error", "code": code, "message": message, "requestId": request_id})
        }
        ServerFrame::GoingAway { retry_after } => {
            json!({"type": "going_away", "retryAfterMs": retry_after.as_secs_f64() * 1000.0})
        }
        ServerFrame::Message {
            channel,
            from,
            from_metadata,
            data,
        } => {
            json!({"type": "message", "channel": channel, "from": from, "fromMetadata": from_metadata, "data": data})
        }
        ServerFrame::Pong => json!({"type": "pong"}),
        ServerFrame::Presence {
            channel,
            joined,
            left,
        } => {
            let member = |(id, metadata): &(PeerId, _)| json!({"peerId": id, "metadata": metadata});
            let joined: Vec<Value> = joined.iter().map(member).collect();
            let left: Vec<Value> = left.iter().map(|id| json!({"peerId": id})).collect();
            json!({"type": "presence", "channel": channel, "joined": joined, "left": left})
        }
        ServerFrame::Welcome(welcome) => json!({
            "type": "welcome",
            "peerId": welcome.peer_id,
            "serverTime": welcome.server_time,
            "expiresAt": welcome.expires_at,
            "maxMessageSize": welcome.max_message_size,
            "metadata": welcome.metadata,
        }),
    }
}

fn server_frame() -> impl Strategy<Value = Value> {
    let bag = || {
        prop_oneof![
            Just(Value::Null),
            Just(json!({"name": "Ana", "n": [1, {"x": null}]}))
        ]
    };
    prop_oneof![
        any::<String>().prop_map(|id| json!({"type": "ack", "requestId": id})),
        (name(), bag(), value()).prop_map(|(from, bag, data)| {
            json!({"type": "direct", "from": from, "fromMetadata": bag, "data": data})
        }),
        (".{1,20}", any::<Option<String>>(), any::<Option<String>>()).prop_map(|(code, message, id)| {
            json!({"type": "error", "code": code, "message": message, "requestId": id})
        }),
        (name(), any::<String>(), bag(), value()).prop_map(|(channel, from, bag, data)| {
            json!({"type": "message", "channel": channel, "from": from, "fromMetadata": bag, "data": data})
        }),
        (
            name(),
            proptest::collection::vec((name(), bag()), 0..5),
            proptest::collection::vec(name(), 0..5)
        )
            .prop_map(|(channel, joined, left)| {
                let member = |(id, bag)| json!({"peerId": id, "metadata": bag});
                let joined: Vec<Value> = joined.into_iter().map(member).collect();
                let left: Vec<Value> = left.into_iter().map(|id| json!({"peerId": id})).collect();
                json!({"type": "presence", "channel": channel, "joined": joined, "left": left})
            }),
        (
            name(),
            any::<u32>(),
            any::<Option<u32>>(),
            1usize..2_000_000,
            bag()
        )
            .prop_map(|(id, time, expires, size, bag)| json!({
                "type": "welcome", "peerId": id, "serverTime": time, "expiresAt": expires,
                "maxMessageSize": size, "metadata": bag,
            })),
        (0u32..400_000).prop_map(|ms| json!({"type": "going_away", "retryAfterMs": ms})),
        Just(json!({"type": "pong"})),
    ]
}

/// What may stand around a secret: pieces of what is written into logs, in any order.
fn surroundings() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        "[ -~]{0,6}",
        any::<String>(),
        prop::sample::select(vec![
            "token=",
            "&key=",
            "?",
            "%3D",
            "%26",
            "%22",
            "\\",
            "\\\"",
            "\"",
            "'",
            "://",
            "@",
            "/",
            " ",
            "\r\n",
            "\\n",
            "credential",
            "\"credential\":\"",
            "ice-pwd:",
            "Bearer ",
            "eyJ",
            "{",
            "}",
            ",",
            ";",
            "***",
            "turn://u:p",
        ])
        .prop_map(str::to_owned),
    ];
    proptest::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat())
}

/// Lists of ICE servers around their limits.
fn servers() -> impl Strategy<Value = Value> {
    let scheme = prop::sample::select(vec![
        "stun:", "TURN:", "turns:", "stuns:", "turn:", "stun:", "turn:", "http:", "",
    ]);
    let len = prop_oneof![6 => 1..40usize, 1 => ICE_URL_LEN_MAX - 6..ICE_URL_LEN_MAX + 2];
    let url = (scheme, len).prop_map(|(scheme, len)| format!("{scheme}{}", "😀a".repeat(len / 3)));
    let urls = prop_oneof![
        url.clone().prop_map(Value::from),
        proptest::collection::vec(url, 0..8).prop_map(Value::from),
    ];
    let text = prop_oneof![4 => Just(3), 1 => ICE_CREDENTIAL_LEN_MAX - 1..ICE_CREDENTIAL_LEN_MAX + 2];
    let entry = (urls, text)
        .prop_map(|(urls, len)| json!({"urls": urls, "username": "u", "credential": "x".repeat(len)}));
    proptest::collection::vec(entry, 0..ICE_SERVERS_MAX + 2).prop_map(Value::from)
}

proptest! {
    #[test]
    fn frames_survive_being_written(frame in server_frame()) {
        let text = frame.to_string();
        super::frame(text.as_bytes());
        if let Ok(parsed) = ServerFrame::parse(&text) {
            prop_assert_eq!(ServerFrame::parse(&print(&parsed).to_string()), Ok(parsed));
        } else {
            // Names that look reserved, and numbers too small.
            prop_assert!(matches!(frame["type"].as_str(), Some("presence" | "message")), "{}", text);
        }
    }

    #[test]
    fn our_frames_say_what_they_were_made_of(to in name(), data in value(), bits in any::<u128>()) {
        let (to, request_id) = (PeerId::new(&to).unwrap(), RequestId::from_random(bits));
        let frame = ClientFrame::Send { to: &to, data: &data, request_id };
        let read: Value = serde_json::from_str(&frame.to_text()).unwrap();
        let expected = json!({"type": "send", "to": to, "data": data, "requestId": request_id.to_string()});
        prop_assert_eq!(read, expected);
        prop_assert_eq!(RequestId::parse(&request_id.to_string()), Some(request_id));
    }

    #[test]
    fn urls_survive_being_written(host in "[a-z][a-z0-9-]{0,8}[a-z](\\.[a-z]{2,5}){0,2}", port in any::<Option<u16>>(),
                                  credential in any::<String>()) {
        let port = port.map(|port| format!(":{port}")).unwrap_or_default();
        let text = format!("wss://{host}{port}");
        super::endpoint(format!("{text}\n{credential}").as_bytes());
        let Ok(endpoint) = Endpoint::parse(&text) else { return Ok(()) };
        prop_assert_eq!(endpoint.as_str(), text.strip_suffix(":443").unwrap_or(&text));
        let url = endpoint.connect_url(&Credential::Token(Secret::new(credential.clone())));
        let plain = url.expose().bytes().all(|b| b.is_ascii_graphic());
        prop_assert!(plain && url.expose().starts_with(endpoint.as_str()));
    }

    #[test]
    fn names_are_bounded(text in any::<String>(), more in 0usize..300) {
        super::names(text.as_bytes());
        let long = "ä".repeat(more);
        prop_assert_eq!(ChannelName::new(&long).is_ok(), (1..=128).contains(&more));
        prop_assert_eq!(PeerId::new(&long).is_ok(), (1..=64).contains(&more));
    }

    #[test]
    fn ice_servers_never_exceed_their_limits(list in servers()) {
        super::ice_servers(list.to_string().as_bytes());
        if let Some(servers) = IceServer::parse_list(&list) {
            prop_assert_eq!(servers.len(), list.as_array().unwrap().len());
            prop_assert!(servers.iter().map(|server| server.urls.len()).sum::<usize>() <= ICE_URLS_MAX);
        }
    }

    #[test]
    fn secrets_are_hidden_whatever_surrounds_them(secret in "[A-Za-z0-9]{12,48}", before in surroundings(),
                                                  behind in surroundings()) {
        let before = before.replace("@@", "@");
        super::scrub(format!("{secret}\n{before}@@{behind}").as_bytes());
    }
}
