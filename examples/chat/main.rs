//! Presence and chat in a terminal: several channels on one connection, who is there, messages to all and to one,
//! who is typing, and what happens when the network goes away.
//!
//! ```text
//! METERED_API_KEY=pk_… cargo run --no-default-features --features signalling --example chat -- --name Ana lobby ops
//! ```
//!
//! Messages have the form of the demo page's, `{"type":"chat","text":…}`, so both can talk to each other.

#[path = "../support/mod.rs"]
mod support;
mod terminal;

use std::collections::BTreeMap;
use std::error::Error;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use gstmeteredwebrtc::signalling::{
    ChannelName, Direct, Event, Member, Message, PeerId, Presence, ReconnectOptions, SignallingClient,
    SubscribeOptions,
};
use serde::{Deserialize, Serialize};
use support::service::{Service, channel};
use terminal::{Input, Terminal};

/// Others are told at most this often that somebody is typing, and believe it for twice as long.
const TYPING: Duration = Duration::from_secs(3);

const HELP: &str = "\
/join CHANNEL      enter a channel and talk there
/leave [CHANNEL]   leave it
/in CHANNEL        talk in another channel that you are in
/who               who is here
/msg NAME TEXT     to one person only
/quit              end";

/// Chats in a terminal.
#[derive(Parser)]
struct Arguments {
    /// Channels to enter; what you type goes to the first
    #[arg(required = true, value_parser = channel)]
    channels: Vec<String>,
    /// The name that others see
    #[arg(long, env = "USER", default_value = "guest")]
    name: String,
    #[command(flatten)]
    service: Service,
}

/// What travels between the programs.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Note {
    /// Publishable keys know no names, so everybody says theirs.
    Hello {
        name: String,
    },
    Typing {
        name: String,
    },
    Chat {
        text: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
    },
}

struct Chat {
    client: SignallingClient,
    terminal: Terminal,
    name: String,
    /// Who is where. Ours are those that we have subscribed to.
    channels: BTreeMap<ChannelName, Vec<PeerId>>,
    names: BTreeMap<PeerId, String>,
    /// Where we talk.
    current: Option<ChannelName>,
    typing_told: Option<Instant>,
}

impl Chat {
    fn say(&self, line: impl AsRef<str>) {
        self.terminal.print(line.as_ref());
    }

    fn name_of(&self, peer: &str) -> String {
        let known = PeerId::new(peer).ok().and_then(|peer| self.names.get(&peer));
        known.cloned().unwrap_or_else(|| peer.to_owned())
    }

    fn is_me(&self, peer: &str) -> bool {
        self.client.peer_id().is_some_and(|me| me.as_str() == peer)
    }

    /// Sends without waiting, so that what others say goes on; a failure is told when it is known.
    fn publish(&self, channel: &ChannelName, note: Note) {
        let (client, terminal, channel) = (self.client.clone(), self.terminal.clone(), channel.clone());
        tokio::spawn(async move {
            if let Err(error) = client.publish(channel.as_str(), &note).await {
                terminal.print(&format!("! not sent to {channel}: {error}"));
            }
        });
    }

    fn send(&self, peer: &PeerId, note: Note) {
        let (client, terminal, peer) = (self.client.clone(), self.terminal.clone(), peer.clone());
        tokio::spawn(async move {
            let result = client.send(peer.as_str(), &note).await;
            // Somebody who has just gone needs no greeting.
            if let (Err(error), Note::Chat { .. }) = (result, &note) {
                terminal.print(&format!("! not sent: {error}"));
            }
        });
    }

    fn hello(&self) -> Note {
        Note::Hello {
            name: self.name.clone(),
        }
    }

    async fn join(&mut self, name: &str) {
        let options = SubscribeOptions {
            include_sender_metadata: true,
        };
        match (ChannelName::new(name), self.client.subscribe(name, options).await) {
            (Ok(channel), Ok(())) => {
                self.channels.entry(channel.clone()).or_default();
                self.publish(&channel, self.hello());
                self.say(format!("* you are in {channel}"));
                self.current = Some(channel);
            }
            (_, Err(error)) => self.say(format!("! {name} cannot be joined: {error}")),
            (Err(error), _) => self.say(format!("! {name} cannot be joined: {error}")),
        }
    }

    async fn leave(&mut self, name: &str) {
        let Some(channel) = self.channels.keys().find(|known| known.as_str() == name).cloned() else {
            return self.say("! you are not there");
        };
        self.channels.remove(&channel);
        if let Err(error) = self.client.unsubscribe(name).await {
            self.say(format!("! {error}"));
        }
        self.say(format!("* you have left {channel}"));
        if self.current.as_ref() == Some(&channel) {
            self.current = self.channels.keys().next().cloned();
        }
    }

    fn who(&self) {
        for (channel, members) in &self.channels {
            let names: Vec<String> = members.iter().map(|peer| self.name_of(peer.as_str())).collect();
            self.say(format!("* {channel}: {}", names.join(", ")));
        }
    }

    fn tell_one(&mut self, name: &str, text: &str) {
        let found = self
            .names
            .iter()
            .find(|(peer, known)| known.as_str() == name || peer.as_str() == name);
        let Some((peer, _)) = found else {
            return self.say(format!("! nobody is called {name}"));
        };
        let (text, name) = (text.to_owned(), Some(self.name.clone()));
        self.send(peer, Note::Chat { text, name });
    }

    fn typing(&mut self) {
        let recently = self.typing_told.is_some_and(|told| told.elapsed() < TYPING);
        if let (false, Some(channel)) = (recently, self.current.clone()) {
            self.typing_told = Some(Instant::now());
            let name = self.name.clone();
            self.publish(&channel, Note::Typing { name });
        }
    }

    fn talk(&mut self, text: &str) {
        self.typing_told = None;
        match self.current.clone() {
            Some(channel) => {
                let (text, name) = (text.to_owned(), Some(self.name.clone()));
                self.publish(&channel, Note::Chat { text, name });
            }
            None => self.say("! /join a channel first"),
        }
    }

    /// False ends the program.
    async fn line(&mut self, line: &str) -> bool {
        let mut words = line.trim().splitn(3, ' ');
        match (words.next().unwrap_or_default(), words.next(), words.next()) {
            ("", ..) => {}
            ("/quit", ..) => return false,
            ("/help", ..) => self.say(HELP),
            ("/who", ..) => self.who(),
            ("/join", Some(channel), _) => self.join(channel).await,
            ("/leave", Some(channel), _) => self.leave(channel).await,
            ("/leave", None, _) => match self.current.clone() {
                Some(channel) => self.leave(channel.as_str()).await,
                None => self.say("! you are nowhere"),
            },
            ("/in", Some(name), _) => match self.channels.keys().find(|known| known.as_str() == name) {
                Some(channel) => self.current = Some(channel.clone()),
                None => self.say("! you are not there; /join it"),
            },
            ("/msg", Some(name), Some(text)) => self.tell_one(name, text),
            (command, ..) if command.starts_with('/') => self.say(HELP),
            _ => self.talk(line.trim()),
        }
        true
    }

    /// False ends the program.
    fn event(&mut self, event: Event) -> bool {
        match event {
            Event::Connected(connected) if connected.is_reconnect => {
                self.say(format!("--- connected again, as {} ---", connected.peer_id));
            }
            Event::Disconnected(lost) if lost.will_reconnect => {
                let delay = lost.delay.unwrap_or_default().as_secs_f64();
                self.say(format!(
                    "--- connection lost ({}); trying again in {delay:.1} s ---",
                    lost.code
                ));
            }
            Event::Disconnected(lost) => {
                self.say(format!("--- the connection has ended ({}) ---", lost.code));
                return false;
            }
            Event::ConnectFailed(failed) => self.say(format!("--- {} ---", failed.failure)),
            Event::ResubscribeFailed(failed) => {
                self.say(format!(
                    "! {} could not be entered again: {}",
                    failed.channel, failed.error
                ));
            }
            // A new connection can have a new id, and others know names by id.
            Event::Resubscribed(channel) => {
                self.say(format!("* you are in {channel} again"));
                self.publish(&channel, self.hello());
            }
            Event::GoingAway(_) => self.say("--- the service restarts ---"),
            Event::ServerError(error) => self.say(format!("! the service reports {}", error.code)),
            Event::TokenProviderError(error) => self.say(format!("! no token: {}", error.error)),
            Event::Presence(presence) => self.presence(presence),
            Event::Message(message) => self.message(message),
            Event::Direct(direct) => self.direct(direct),
            _ => {}
        }
        true
    }

    fn presence(&mut self, presence: Presence) {
        let greeting = self.hello();
        let members = self.channels.entry(presence.channel.clone()).or_default();
        if presence.snapshot {
            members.clear();
        }
        members.retain(|peer| !presence.left.contains(peer));
        for Member { peer_id, metadata } in &presence.joined {
            if !members.contains(peer_id) {
                members.push(peer_id.clone());
            }
            let name = metadata
                .as_ref()
                .and_then(|metadata| metadata.get("username")?.as_str());
            let name = name.unwrap_or(peer_id.as_str()).to_owned();
            self.names.entry(peer_id.clone()).or_insert(name);
        }
        if presence.snapshot {
            return;
        }
        for peer in &presence.left {
            self.say(format!(
                "* {} has left {}",
                self.name_of(peer.as_str()),
                presence.channel
            ));
        }
        for member in presence
            .joined
            .iter()
            .filter(|member| !self.is_me(member.peer_id.as_str()))
        {
            let name = self.name_of(member.peer_id.as_str());
            self.say(format!("* {name} has come to {}", presence.channel));
            let Note::Hello { name } = &greeting else { continue };
            self.send(&member.peer_id, Note::Hello { name: name.clone() });
        }
    }

    fn message(&mut self, message: Message) {
        if !self.is_me(&message.from) {
            let place = format!("[{}] ", message.channel);
            self.note(&message.from, &place, message.data);
        }
    }

    fn direct(&mut self, direct: Direct) {
        self.note(direct.from.as_str(), "[to you] ", direct.data);
    }

    fn note(&mut self, from: &str, place: &str, data: serde_json::Value) {
        match serde_json::from_value::<Note>(data.clone()) {
            Ok(Note::Hello { name }) => {
                let before = self.name_of(from);
                if let Ok(peer) = PeerId::new(from)
                    && before != name
                {
                    self.say(format!("* {before} is called {name}"));
                    self.names.insert(peer, name);
                }
            }
            Ok(Note::Typing { name }) => self.terminal.typing(&name, 2 * TYPING),
            Ok(Note::Chat { text, name }) => {
                let name = name.unwrap_or_else(|| self.name_of(from));
                self.terminal.typing(&name, Duration::ZERO);
                self.say(format!("{place}{name}: {text}"));
            }
            // Other programs in the channel say other things.
            Err(_) => self.say(format!("{place}{}: {data}", self.name_of(from))),
        }
    }
}

async fn run(arguments: Arguments) -> Result<(), Box<dyn Error>> {
    let forever = ReconnectOptions {
        attempts: None,
        ..ReconnectOptions::default()
    };
    let client = SignallingClient::new(arguments.service.options()?.reconnect(forever))?;
    let mut events = client.events();
    client.connect().await?;
    let (terminal, mut inputs) = Terminal::open()?;
    let mut chat = Chat {
        client: client.clone(),
        terminal,
        name: arguments.name,
        channels: BTreeMap::new(),
        names: BTreeMap::new(),
        current: None,
        typing_told: None,
    };
    for channel in arguments.channels.iter().rev() {
        chat.join(channel).await;
    }
    chat.say("* /help shows the commands");
    loop {
        let goes_on = tokio::select! {
            Some(event) = events.next() => chat.event(event),
            input = inputs.recv() => match input {
                Some(Input::Line(line)) => chat.line(&line).await,
                Some(Input::Key) => {
                    chat.typing();
                    true
                }
                None => false,
            },
            _ = tokio::signal::ctrl_c() => false,
        };
        if !goes_on {
            break;
        }
    }
    client.close().await;
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let result = run(Arguments::parse()).await;
    if let Err(error) = &result {
        eprintln!("error: {error}");
    }
    // The thread that reads the terminal cannot be interrupted, so the process does not wait for it.
    std::process::exit(i32::from(result.is_err()))
}
