//! The whole room over the model of webrtcbin, and a server that says anything.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::bin::Bin;
use super::clock::{Woken, pass};
use super::ledger::Ledger;
use super::negotiator::{MAX_HELD, accept, check_command, check_signal, codec, everything, track};
use super::{lines, number};
use crate::core::client::{ClientConfig, CredentialSource};
use crate::core::events::{RoomInput, RoomOutput};
use crate::core::io::{
    ConnectionState, Generation, Machine, NetInput, NetOutput, SessionCommand, SessionEvent, SessionOp,
    SocketEnd, SocketId, TrackKey,
};
use crate::core::room::{Room, RoomConfig};
use crate::wire::limits::PEERS_MAX;
use crate::wire::{ChannelName, DirectPayload, PeerId, RtcSignal, SdpKind, Secret};

const KEY: &str = "7Qd2wXyZ";

/// A script: each line is a fact or a command (`Bench::step`); what is none is a text of the server.
pub fn room(data: &[u8]) {
    if data.windows(KEY.len()).any(|part| part == KEY.as_bytes()) {
        // libFuzzer learns the key from the comparisons below, and has the server say it.
        return;
    }
    let mut bench = Bench::new();
    for line in lines(data) {
        bench.step(&line);
        bench.settle();
    }
    bench.input(RoomInput::Leave);
    bench.settle();
    assert!(bench.room.is_finished() && bench.ledger.has_left());
    assert_eq!(bench.room.poll_timeout(), None);
}

struct Bench {
    room: Room,
    now: Instant,
    socket: SocketId,
    ledger: Ledger,
    bins: BTreeMap<PeerId, (Generation, Bin)>,
    reports: VecDeque<(PeerId, Generation, SessionEvent)>,
    /// Request ids that were sent, in order.
    sent: Vec<String>,
    /// The last offer of ours to each peer.
    offers: BTreeMap<String, String>,
    questions: Vec<u64>,
    /// Outputs of one settling.
    outputs: usize,
}

impl Bench {
    fn new() -> Self {
        let now = Instant::now();
        let key = CredentialSource::ApiKey(Secret::new(format!("pk_live_{KEY}")));
        let config = RoomConfig {
            channel: ChannelName::new("studio").expect("a name"),
            client: ClientConfig {
                retry_first_connect: true,
                ..ClientConfig::new(key, 7)
            },
            receive: everything(),
            include_sender_metadata: true,
            max_peers: PEERS_MAX,
            ice_servers: None,
            departure_grace: Duration::from_secs(30),
            relay_only: false,
            seed: 7,
        };
        Self {
            room: Room::new(config, now).expect("a good configuration"),
            now,
            socket: SocketId(0),
            ledger: Ledger::default(),
            bins: BTreeMap::new(),
            reports: VecDeque::new(),
            sent: Vec::new(),
            offers: BTreeMap::new(),
            questions: Vec::new(),
            outputs: 0,
        }
    }

    fn input(&mut self, input: RoomInput) {
        self.room.handle_input(self.now, input);
        self.drain();
    }

    fn net(&mut self, input: NetInput) {
        self.room.handle_net(self.now, input);
        self.drain();
    }

    fn text(&mut self, text: &str) {
        self.net(NetInput::Text(self.socket, text.to_owned()));
    }

    fn step(&mut self, line: &str) {
        let mut rest = line.chars();
        let first = rest.next().unwrap_or(' ');
        let rest = rest.as_str();
        match first {
            '+' => {
                let mut now = self.now;
                pass(self, &mut now, Duration::from_millis(number(rest, 60_000)));
                self.now = now;
            }
            'j' => self.input(RoomInput::Join),
            'q' => self.input(RoomInput::Leave),
            'o' => self.net(NetInput::SocketOpened(self.socket)),
            'x' => {
                let (code, reason) = (number(rest, u16::MAX.into()) as u16, rest.to_owned());
                self.net(NetInput::SocketClosed(
                    self.socket,
                    SocketEnd::Closed { code, reason },
                ));
            }
            'l' => {
                let detail = rest.to_owned();
                self.net(NetInput::SocketClosed(self.socket, SocketEnd::Lost { detail }));
            }
            'a' | 'e' if !self.sent.is_empty() => {
                let id = self.sent.remove(0);
                let frame = match first {
                    'a' => json!({"type": "ack", "requestId": id}),
                    _ => json!({"type": "error", "requestId": id, "code": rest}),
                };
                self.text(&frame.to_string());
            }
            't' => {
                let metadata = json!({"label": rest});
                let track = track(number(rest, 7));
                self.input(RoomInput::AddTrack(track, metadata.as_object().cloned()));
            }
            'T' => self.input(RoomInput::RemoveTrack(TrackKey(number(rest, 7) as u32))),
            's' => self.input(RoomInput::Send(json!(rest))),
            'S' => self.input(RoomInput::SendTo(rest.to_owned(), json!(1))),
            'r' => {
                if let Some(id) = self.questions.pop() {
                    let addresses: Vec<IpAddr> = rest.parse().into_iter().collect();
                    self.net(NetInput::Resolved(id, addresses));
                }
            }
            'i' => {
                let addresses = rest.split(' ').filter_map(|ip| ip.parse().ok()).collect();
                self.net(NetInput::AddressesChanged(addresses));
            }
            'c' => self.peer_says(rest),
            'b' => self.bin_says(rest),
            _ => self.text(line),
        }
    }

    /// `PEER UFRAG`: a good answer to our last offer.
    fn peer_says(&mut self, words: &str) {
        let (peer, ufrag) = words.split_once(' ').unwrap_or((words, "ufrag"));
        if let Some(offer) = self.offers.get(peer) {
            let sdp = accept(offer, ufrag);
            let kind = SdpKind::Answer;
            let data = RtcSignal::Description { kind, sdp }.to_data();
            self.text(&json!({"type": "direct", "from": peer, "data": data}).to_string());
        }
    }

    /// `PEER WORD …`: what its session says by itself.
    fn bin_says(&mut self, words: &str) {
        let mut words = words.split(' ');
        let Some(Ok(peer)) = words.next().map(PeerId::new) else {
            return;
        };
        let Some((generation, bin)) = self.bins.get_mut(&peer).filter(|(_, bin)| !bin.disposed) else {
            return;
        };
        let generation = *generation;
        let event = match words.next().unwrap_or_default() {
            "connected" => SessionEvent::Connection(ConnectionState::Connected),
            "disconnected" => SessionEvent::Connection(ConnectionState::Disconnected),
            "failed" => SessionEvent::Connection(ConnectionState::Failed),
            "closed" => SessionEvent::Connection(ConnectionState::Closed),
            "traffic" => SessionEvent::Traffic {
                received: words.next().and_then(|n| n.parse().ok()).unwrap_or_default(),
                sending: words.next().is_none(),
            },
            "media" => SessionEvent::MediaArrived {
                mid: words.next().unwrap_or_default().to_owned(),
                codec: codec(words.next().unwrap_or_default()),
            },
            _ => {
                bin.broken = true;
                let op = SessionOp::Pipeline;
                SessionEvent::Failed {
                    op,
                    reason: String::new(),
                }
            }
        };
        self.reports.push_back((peer, generation, event));
        self.drain();
    }

    fn settle(&mut self) {
        self.outputs = 0;
        self.room.handle_timeout(self.now);
        self.drain();
        let mut now = self.now;
        pass(self, &mut now, Duration::ZERO);
        assert!(
            self.room.poll_timeout().is_none_or(|at| at > self.now),
            "woken in the past"
        );
        self.room.check_bounds(MAX_HELD);
        assert!(self.ledger.present.len() <= PEERS_MAX);
    }

    fn drain(&mut self) {
        loop {
            while let Some(output) = self.room.poll_net() {
                self.on_net(output);
            }
            while let Some(output) = self.room.poll_output() {
                self.outputs += 1;
                assert!(self.outputs < 100_000, "it never ends");
                self.ledger.output(&output);
                match output {
                    RoomOutput::Session(peer, generation, command) => self.command(peer, generation, command),
                    RoomOutput::Event(event) => assert!(!format!("{event:?}").contains(KEY)),
                }
            }
            let Some((peer, generation, event)) = self.reports.pop_front() else {
                return;
            };
            self.ledger.report(&peer, generation, &event);
            self.room
                .handle_input(self.now, RoomInput::Session(peer, generation, event));
        }
    }

    fn on_net(&mut self, output: NetOutput) {
        match output {
            NetOutput::OpenSocket { id, .. } => {
                assert!(id > self.socket);
                self.socket = id;
                self.sent.clear();
            }
            NetOutput::SendText(id, text) => {
                assert_eq!(id, self.socket);
                let mut frame: Value = serde_json::from_str(&text).expect("JSON");
                self.sent.extend(frame["requestId"].as_str().map(str::to_owned));
                if let DirectPayload::Signal(signal) = DirectPayload::classify(frame["data"].take()) {
                    check_signal(&signal);
                    if let (
                        RtcSignal::Description {
                            kind: SdpKind::Offer,
                            sdp,
                        },
                        Some(to),
                    ) = (signal, frame["to"].as_str())
                    {
                        self.offers.insert(to.to_owned(), sdp);
                    }
                }
            }
            NetOutput::Resolve { id, .. } => self.questions.push(id),
            NetOutput::CloseSocket { .. } | NetOutput::FetchToken(_) | NetOutput::ForgetToken(_) => {}
        }
    }

    fn command(&mut self, peer: PeerId, generation: Generation, command: SessionCommand) {
        check_command(&command);
        if let SessionCommand::Create(_) = command {
            let bin = Bin::new(u64::from(generation.0));
            self.bins.insert(peer.clone(), (generation, bin));
        }
        let (live, bin) = self.bins.get_mut(&peer).expect("a command before Create");
        assert_eq!(generation, *live);
        for event in bin.run(command) {
            self.reports.push_back((peer.clone(), generation, event));
        }
    }
}

impl Woken for Bench {
    fn wanted(&self) -> Option<Instant> {
        self.room.poll_timeout()
    }

    fn wake(&mut self, now: Instant) {
        self.now = now;
        self.outputs = 0;
        self.room.handle_timeout(now);
        self.drain();
    }
}
