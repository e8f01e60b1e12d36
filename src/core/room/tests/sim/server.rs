//! The service, as far as rooms see it.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::core::io::SocketId;

/// One connection of one process.
pub type Socket = (usize, SocketId);

/// One connection, as the server knows it.
#[derive(Debug)]
struct Connection {
    id: String,
    subscribed: bool,
}

/// A frame for somebody's socket.
pub type Delivery = (Socket, Value);

/// A password of a TURN server, which nobody may show.
pub const TURN_SECRET: &str = "turn-5ecret";

/// The service's limit for a frame, in bytes.
pub const FRAME_MAX: usize = 65_536;

#[derive(Debug, Default)]
pub struct Server {
    connections: BTreeMap<Socket, Connection>,
}

fn presence(joined: &[&str], left: &[&str]) -> Value {
    let list = |ids: &[&str]| -> Vec<Value> { ids.iter().map(|id| json!({"peerId": id})).collect() };
    json!({"type": "presence", "channel": "studio", "joined": list(joined), "left": list(left)})
}

impl Server {
    /// The handshake is done. A connection that had the same id is replaced without a word.
    pub fn accept(&mut self, socket: Socket, id: &str) -> Vec<Delivery> {
        self.connections.insert(
            socket,
            Connection {
                id: id.to_owned(),
                subscribed: false,
            },
        );
        let turn = json!([{"urls": "turn:t.example", "username": "u", "credential": TURN_SECRET}]);
        let welcome = json!({
            "type": "welcome", "peerId": id, "serverTime": 1, "expiresAt": null, "maxMessageSize": FRAME_MAX,
            "metadata": {"iceServers": turn},
        });
        vec![(socket, welcome)]
    }

    pub fn frame(&mut self, socket: Socket, frame: &Value) -> Vec<Delivery> {
        let Some(connection) = self.connections.get_mut(&socket) else {
            return Vec::new();
        };
        let from = connection.id.clone();
        let ack = (socket, json!({"type": "ack", "requestId": frame["requestId"]}));
        match frame["type"].as_str().unwrap_or_default() {
            "ping" => vec![(socket, json!({"type": "pong"}))],
            "subscribe" => {
                connection.subscribed = true;
                let replaced = |other: (&Socket, &mut Connection)| other.0 == &socket || other.1.id != from;
                self.connections.retain(|key, other| replaced((key, other)));
                let others: Vec<&str> = self.others(&from).map(|(_, id)| id).collect();
                let mut all = vec![ack, (socket, presence(&others, &[]))];
                all.extend(self.told(&from));
                all
            }
            "publish" => {
                let message =
                    json!({"type": "message", "channel": "studio", "from": from, "data": frame["data"]});
                let mut all = vec![ack];
                all.extend(self.others(&from).map(|(other, _)| (other, message.clone())));
                all
            }
            "send" => {
                let target = self
                    .connections
                    .iter()
                    .find(|(_, other)| frame["to"] == other.id.as_str());
                match target {
                    Some((target, _)) => {
                        let direct = json!({"type": "direct", "from": from, "data": frame["data"]});
                        vec![ack, (*target, direct)]
                    }
                    None => vec![(
                        socket,
                        json!({"type": "error", "requestId": frame["requestId"], "code": "peer_not_found"}),
                    )],
                }
            }
            other => panic!("a frame of type {other}"),
        }
    }

    /// The others are told that this member is there.
    pub fn told(&self, id: &str) -> Vec<Delivery> {
        let joined = presence(&[id], &[]);
        self.others(id)
            .map(|(other, _)| (other, joined.clone()))
            .collect()
    }

    pub fn knows(&self, socket: Socket) -> bool {
        self.connections.contains_key(&socket)
    }

    /// The server has noticed that a connection is gone.
    pub fn gone(&mut self, socket: Socket) -> Vec<Delivery> {
        match self.connections.remove(&socket) {
            Some(Connection { id, subscribed: true }) => self
                .others(&id)
                .map(|(other, _)| (other, presence(&[], &[&id])))
                .collect(),
            _ => Vec::new(),
        }
    }

    /// It knows nobody any more. Whom it knew.
    pub fn forget(&mut self) -> Vec<Socket> {
        std::mem::take(&mut self.connections).into_keys().collect()
    }

    /// The members of the channel but one.
    pub fn others<'a>(&'a self, own: &'a str) -> impl Iterator<Item = (Socket, &'a str)> {
        self.connections
            .iter()
            .filter(move |(_, other)| other.subscribed && other.id != own)
            .map(|(socket, other)| (*socket, other.id.as_str()))
    }

    /// The id behind a socket, if it is in the channel.
    pub fn id(&self, socket: Socket) -> Option<&str> {
        let connection = self.connections.get(&socket)?;
        connection.subscribed.then_some(connection.id.as_str())
    }
}
