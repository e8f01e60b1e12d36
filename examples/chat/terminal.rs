//! A line to type in below lines that come in, on a terminal; plain lines where there is none.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::{BufRead, IsTerminal};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustyline::error::ReadlineError;
use rustyline::hint::Hinter;
use rustyline::history::MemHistory;
use rustyline::{Completer, Config, Context, Editor, ExternalPrinter, Helper, Highlighter, Validator};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// What the person does.
pub enum Input {
    /// A finished line.
    Line(String),
    /// Something was typed that is not finished.
    Key,
}

type Typists = Arc<Mutex<BTreeMap<String, Instant>>>;

/// Prints without disturbing what is being typed.
#[derive(Clone)]
pub struct Terminal {
    printer: Option<Arc<Mutex<dyn ExternalPrinter + Send>>>,
    typists: Typists,
}

impl Terminal {
    /// Starts to read. The receiver ends with the input.
    pub fn open() -> Result<(Self, UnboundedReceiver<Input>), Box<dyn Error>> {
        let (sender, receiver) = unbounded_channel();
        let mut terminal = Self {
            printer: None,
            typists: Typists::default(),
        };
        if std::io::stdin().is_terminal() {
            let mut editor = Editor::with_history(Config::default(), MemHistory::new())?;
            editor.set_helper(Some(Watcher {
                sender: sender.clone(),
                typists: terminal.typists.clone(),
            }));
            terminal.printer = Some(Arc::new(Mutex::new(editor.create_external_printer()?)));
            std::thread::spawn(move || edit(editor, &sender));
        } else {
            std::thread::spawn(move || {
                for line in std::io::stdin().lock().lines().map_while(Result::ok) {
                    let _ = sender.send(Input::Line(line));
                }
            });
        }
        Ok((terminal, receiver))
    }

    /// Prints a line, or several.
    pub fn print(&self, text: &str) {
        match &self.printer {
            Some(printer) => {
                let mut printer = printer.lock().unwrap_or_else(PoisonError::into_inner);
                // A terminal that is gone shows nothing.
                let _ = printer.print(format!("{text}\n"));
            }
            None => println!("{text}"),
        }
    }

    /// Shows for this time that somebody is typing; nothing for no time.
    pub fn typing(&self, name: &str, time: Duration) {
        let mut typists = self.typists.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let news = typists.get(name).is_none_or(|until| *until < now);
        typists.insert(name.to_owned(), now + time);
        drop(typists);
        if news && !time.is_zero() {
            self.print(&format!("… {name} is typing"));
        }
    }
}

fn edit(mut editor: Editor<Watcher, MemHistory>, sender: &UnboundedSender<Input>) {
    loop {
        match editor.readline("> ") {
            Ok(line) => {
                let _ = editor.add_history_entry(&line);
                if sender.send(Input::Line(line)).is_err() {
                    return;
                }
            }
            Err(ReadlineError::Interrupted | ReadlineError::Eof) => return,
            Err(error) => return eprintln!("error: {error}"),
        }
    }
}

/// The editor asks for a hint at every key: that is how typing is noticed, and where it is shown.
#[derive(Helper, Completer, Highlighter, Validator)]
struct Watcher {
    sender: UnboundedSender<Input>,
    typists: Typists,
}

impl Hinter for Watcher {
    type Hint = String;

    fn hint(&self, line: &str, _: usize, _: &Context<'_>) -> Option<String> {
        if !line.is_empty() && !line.starts_with('/') {
            let _ = self.sender.send(Input::Key);
        }
        let typists = self.typists.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let names: Vec<&str> = typists
            .iter()
            .filter(|(_, until)| **until > now)
            .map(|(name, _)| name.as_str())
            .collect();
        (!names.is_empty()).then(|| format!("   ({} typing)", names.join(", ")))
    }
}
