//! A client whose events are all kept, and what must hold for every one of them.

use std::time::Duration;

use gstmeteredwebrtc::signalling::{
    ClientOptions, ConnectFailure, Credentials, Event, Events, ReconnectOptions, SignallingClient,
};

use super::server::{Server, patiently};

/// A client of this server that comes back quickly, and also when its first connect fails.
pub fn options(server: &Server) -> ClientOptions {
    options_with(server, Credentials::api_key("pk_live_faults"))
}

pub fn options_with(server: &Server, credentials: Credentials) -> ClientOptions {
    ClientOptions::new(credentials)
        .endpoint(server.url())
        .retry_first_connect(true)
        .reconnect(fast())
}

pub fn fast() -> ReconnectOptions {
    ReconnectOptions {
        initial: Duration::from_millis(1),
        max: Duration::from_millis(50),
        ..ReconnectOptions::default()
    }
}

pub struct Run {
    client: Option<SignallingClient>,
    events: Events<Event>,
    seen: Vec<Event>,
}

impl Run {
    pub fn new(options: ClientOptions) -> Self {
        let client = SignallingClient::new(options).unwrap();
        Self {
            events: client.events(),
            client: Some(client),
            seen: Vec::new(),
        }
    }

    pub fn client(&self) -> &SignallingClient {
        self.client.as_ref().unwrap()
    }

    /// Connects beside this task.
    pub fn connecting(&self) -> tokio::task::JoinHandle<Connecting> {
        let client = self.client().clone();
        tokio::spawn(async move { client.connect().await })
    }

    async fn next(&mut self) -> Option<Event> {
        let what = format!("an event after {:?}", self.seen.last().map(brief));
        let event = patiently(&what, self.events.next()).await?;
        self.seen.push(event.clone());
        Some(event)
    }

    /// Waits for an event that is not among those seen yet, by its short form.
    pub async fn until(&mut self, wanted: &str) -> Event {
        self.until_any(&[wanted]).await
    }

    pub async fn until_any(&mut self, wanted: &[&str]) -> Event {
        loop {
            let Some(event) = self.next().await else {
                panic!("{wanted:?} has not come: {:?}", self.brief());
            };
            if wanted.contains(&brief(&event).as_str()) {
                return event;
            }
        }
    }

    pub fn brief(&self) -> Vec<String> {
        self.seen.iter().map(brief).collect()
    }

    /// Drops the last handle.
    pub fn abandon(&mut self) {
        drop(self.client.take());
    }

    /// Drops the client, which has to end everything: its events must have been these, and nothing is left.
    pub async fn end(self, server: &Server, expected: &[&str]) -> Vec<Event> {
        let seen = self.end_with(expected).await;
        server.deserted().await;
        seen
    }

    /// The same for one of many clients of a server.
    pub async fn end_with(mut self, expected: &[&str]) -> Vec<Event> {
        self.abandon();
        while self.next().await.is_some() {}
        assert_eq!(self.brief(), expected);
        assert_eq!(self.events.missed(), 0);
        one_end_per_connect(&self.brief());
        self.seen
    }

    /// Everything that happens until the client is gone, and has happened before.
    pub async fn all(mut self) -> Vec<Event> {
        while self.next().await.is_some() {}
        one_end_per_connect(&self.brief());
        self.seen
    }

    /// The same for a client with more events than were kept.
    pub async fn end_missing(mut self, server: &Server) -> Vec<String> {
        self.abandon();
        while self.next().await.is_some() {}
        assert!(self.events.missed() > 0);
        server.deserted().await;
        self.brief()
    }
}

pub type Connecting =
    Result<gstmeteredwebrtc::signalling::Connected, gstmeteredwebrtc::signalling::ConnectError>;

/// Exactly one final word for each connect, with nothing but the state after it.
pub fn one_end_per_connect(events: &[String]) {
    let mut connected = false;
    let mut before = "";
    for event in events {
        match event.as_str() {
            "connecting" => assert!(!std::mem::replace(&mut connected, true), "{events:?}"),
            end if end.starts_with("disconnected") && end.ends_with("final") => {
                assert!(std::mem::replace(&mut connected, false), "{events:?}");
            }
            "closed" => assert!(before.ends_with("final") || before.is_empty(), "{events:?}"),
            _ => assert!(connected, "{events:?}"),
        }
        before = event;
    }
    assert!(!connected, "there is no end: {events:?}");
}

fn again(follows: bool) -> &'static str {
    if follows { "retry" } else { "final" }
}

/// What can be compared.
pub fn brief(event: &Event) -> String {
    match event {
        Event::StateChanged(changed) => format!("{:?}", changed.to).to_lowercase(),
        Event::Connected(connected) if connected.is_reconnect => "welcome again".to_owned(),
        Event::Connected(_) => "welcome".to_owned(),
        Event::Disconnected(end) => format!("disconnected {} {}", end.code.0, again(end.will_reconnect)),
        Event::ConnectFailed(failed) => {
            format!(
                "failed {} {}",
                failure(&failed.failure),
                again(failed.retry_in.is_some())
            )
        }
        Event::Message(message) => format!("message {}", message.data),
        Event::Resubscribed(channel) => format!("resubscribed {channel}"),
        Event::ServerError(error) => format!("error {}", error.code),
        Event::FrameDropped(_) => "dropped".to_owned(),
        Event::TokenProviderError(error) => format!("token error {}", error.consecutive_failures),
        other => format!("{other:?}"),
    }
}

fn failure(failure: &ConnectFailure) -> String {
    match failure {
        ConnectFailure::CertificateRefused { .. } => "certificate".to_owned(),
        ConnectFailure::Closed { code, .. } => format!("closed {}", code.0),
        ConnectFailure::HttpRefused { status, error: None } => status.to_string(),
        ConnectFailure::HttpRefused {
            status,
            error: Some(error),
        } => format!("{status} {error}"),
        ConnectFailure::Lost { .. } => "lost".to_owned(),
        ConnectFailure::Token { .. } => "token".to_owned(),
        ConnectFailure::Unreachable { .. } => "unreachable".to_owned(),
        ConnectFailure::WelcomeTimeout => "no welcome".to_owned(),
        other => format!("{other:?}"),
    }
}
