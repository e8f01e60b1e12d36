//! What is done to a room, as data: it can be made from a seed, written down, read again, and made smaller.

use std::fmt::{Display, Formatter};
use std::str::FromStr;

/// Virtual time, in milliseconds from the start.
pub type Ms = u64;

/// Nothing new is done after this; what has been done ends some seconds later.
const BUSY: Ms = 45_000;

/// All of it: members, the world around them, and what happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Of all randomness but the steps: delays, losses, ids.
    pub seed: u64,
    pub members: Vec<Kind>,
    pub weather: Weather,
    pub steps: Vec<Step>,
}

/// How a member gets its id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// From its token: the same on every connection.
    Token,
    /// From the service, which gives it a new one on every connection.
    Key,
}

/// Shares in percent, times in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Weather {
    /// Signals that get lost on the way.
    pub loss: u32,
    /// Session operations that fail.
    pub failures: u32,
    /// Session operations that never complete.
    pub hangs: u32,
    /// Attempts to connect that fail.
    pub unreachable: u32,
    /// Sessions do not notice by themselves that a path is gone, as with GStreamer 1.22.
    pub deaf: u32,
    /// How long all that lasts.
    pub until: Ms,
    /// Longest way of a frame.
    pub delay: Ms,
    /// Longest duration of a session's operation.
    pub slow: Ms,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    pub at: Ms,
    pub member: usize,
    pub action: Action,
}

/// What somebody does, or what is done to them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Join,
    Leave,
    Add(u64),
    Remove(u64),
    Say,
    /// Its connection is lost; the server notices so much later.
    Drop(Ms),
    /// The server takes its connection for dead; the member notices so much later.
    ServerLoses(Ms),
    /// The process is gone, and another has its place after so long. The server notices after the second time.
    Die(Ms, Ms),
    /// The process stands still for so long.
    Freeze(Ms),
    /// No packets between it and another member for so long.
    Block(usize, Ms),
    /// Its machine has another address: no path of old leads to it any more.
    Move,
    /// The same behind a translator of addresses: nobody is told, and the old paths can be found anew.
    Rebind,
    /// The application wants a new path to this member.
    Restart(usize),
    /// The same, to all.
    RestartAll,
    /// Its token ends.
    Expire,
    /// The server forgets everything and takes nobody for so long.
    ServerRestart(Ms),
    /// The server asks to come back after the first time, and closes after the second.
    GoingAway(Ms, Ms),
    /// The next so many signals to it are lost.
    Lose(u64),
    /// The others hear again that it is there.
    Duplicate,
}

impl Action {
    fn words(self) -> (&'static str, Vec<u64>) {
        match self {
            Self::Join => ("join", vec![]),
            Self::Leave => ("leave", vec![]),
            Self::Add(key) => ("add", vec![key]),
            Self::Remove(key) => ("remove", vec![key]),
            Self::Say => ("say", vec![]),
            Self::Drop(noticed) => ("drop", vec![noticed]),
            Self::ServerLoses(noticed) => ("server-loses", vec![noticed]),
            Self::Die(back, noticed) => ("die", vec![back, noticed]),
            Self::Freeze(long) => ("freeze", vec![long]),
            Self::Block(other, long) => ("block", vec![other as u64, long]),
            Self::Move => ("move", vec![]),
            Self::Rebind => ("rebind", vec![]),
            Self::Restart(other) => ("restart", vec![other as u64]),
            Self::RestartAll => ("restart-all", vec![]),
            Self::Expire => ("expire", vec![]),
            Self::ServerRestart(down) => ("server-restart", vec![down]),
            Self::GoingAway(back, close) => ("going-away", vec![back, close]),
            Self::Lose(count) => ("lose", vec![count]),
            Self::Duplicate => ("duplicate", vec![]),
        }
    }

    fn read(name: &str, args: &[u64]) -> Option<Self> {
        Some(match (name, args) {
            ("join", []) => Self::Join,
            ("leave", []) => Self::Leave,
            ("add", [key]) => Self::Add(*key),
            ("remove", [key]) => Self::Remove(*key),
            ("say", []) => Self::Say,
            ("drop", [noticed]) => Self::Drop(*noticed),
            ("server-loses", [noticed]) => Self::ServerLoses(*noticed),
            ("die", [back, noticed]) => Self::Die(*back, *noticed),
            ("freeze", [long]) => Self::Freeze(*long),
            ("block", [other, long]) => Self::Block(usize::try_from(*other).ok()?, *long),
            ("move", []) => Self::Move,
            ("rebind", []) => Self::Rebind,
            ("restart", [other]) => Self::Restart(usize::try_from(*other).ok()?),
            ("restart-all", []) => Self::RestartAll,
            ("expire", []) => Self::Expire,
            ("server-restart", [down]) => Self::ServerRestart(*down),
            ("going-away", [back, close]) => Self::GoingAway(*back, *close),
            ("lose", [count]) => Self::Lose(*count),
            ("duplicate", []) => Self::Duplicate,
            _ => return None,
        })
    }

    /// How long it has an effect of its own.
    fn lasts(self) -> Ms {
        match self {
            Self::Drop(long)
            | Self::ServerLoses(long)
            | Self::Freeze(long)
            | Self::Block(_, long)
            | Self::ServerRestart(long)
            | Self::GoingAway(_, long) => long,
            Self::Die(back, noticed) => back.max(noticed),
            _ => 0,
        }
    }

    /// The other member it names.
    pub fn other(&mut self) -> Option<&mut usize> {
        match self {
            Self::Block(other, _) | Self::Restart(other) => Some(other),
            _ => None,
        }
    }

    /// The same with smaller times.
    pub fn shorter(self) -> Option<Self> {
        let half = |long: Ms| long / 2 / 10 * 10;
        let new = match self {
            Self::Drop(long) => Self::Drop(half(long)),
            Self::ServerLoses(long) => Self::ServerLoses(half(long)),
            Self::Die(back, noticed) => Self::Die(half(back), half(noticed)),
            Self::Freeze(long) => Self::Freeze(half(long)),
            Self::Block(other, long) => Self::Block(other, half(long)),
            Self::ServerRestart(long) => Self::ServerRestart(half(long)),
            Self::GoingAway(back, close) => Self::GoingAway(half(back), half(close)),
            Self::Lose(count) => Self::Lose(count / 2),
            _ => return None,
        };
        (new != self).then_some(new)
    }
}

impl Plan {
    /// The plan of a seed.
    pub fn random(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed ^ 0x5eed);
        let count = [2, 2, 2, 3, 3, 3, 4, 4, 5, 6, 7, 8][rng.usize(0..12)];
        let members = (0..count).map(|_| match rng.bool() {
            true => Kind::Token,
            false => Kind::Key,
        });
        let members: Vec<Kind> = members.collect();
        let weather = Weather::random(&mut rng);
        let mut steps = Vec::new();
        for member in 0..count {
            let late = [2000, 5000, 20_000][rng.usize(0..3)];
            let mut add = |at, action| steps.push(Step { at, member, action });
            add(rng.u64(0..late), Action::Join);
            for _ in 0..rng.u32(0..3) {
                add(rng.u64(0..late + 3000), Action::Add(rng.u64(0..4)));
            }
        }
        let most = [0, 4, 12, 12 + 3 * count][rng.usize(0..4)];
        for _ in 0..rng.usize(0..=most) {
            let (at, member) = (rng.u64(0..BUSY), rng.usize(0..count));
            let action = Action::random(&mut rng, member, count);
            steps.push(Step { at, member, action });
            // Things that happen to all at the same moment are worth more than chance gives them.
            if matches!(action, Action::RestartAll | Action::Drop(_)) && rng.u32(0..3) == 0 {
                for member in (0..count).filter(|other| *other != member) {
                    steps.push(Step { at, member, action });
                }
            }
        }
        steps.sort_by_key(|step| step.at);
        Self {
            seed,
            members,
            weather,
            steps,
        }
    }

    /// When nothing bad happens any more.
    pub fn quiet(&self) -> Ms {
        let ends = self.steps.iter().map(|step| step.at + step.action.lasts());
        ends.chain([self.weather.until]).max().unwrap_or_default()
    }
}

impl Weather {
    fn random(rng: &mut fastrand::Rng) -> Self {
        let fair = Self {
            // A description is under way for at most twice the delay, an answer takes three operations. With three
            // times as much, a few in a hundred plans need more than a minute.
            delay: [60, 120, 120, 600][rng.usize(0..4)],
            slow: [20, 40, 40, 300][rng.usize(0..4)],
            deaf: u32::from(rng.u32(0..10) < 7),
            ..Self::default()
        };
        let until = rng.u64(5000..40_000);
        match rng.u32(0..5) {
            0 | 1 => fair,
            2 => Self {
                loss: [0, 3, 10][rng.usize(0..3)],
                failures: 3,
                unreachable: 30,
                until,
                ..fair
            },
            3 => Self {
                loss: 30,
                failures: 8,
                hangs: 2,
                unreachable: 50,
                until,
                ..fair
            },
            _ => Self {
                loss: rng.u32(0..60),
                until,
                ..fair
            },
        }
    }
}

impl Action {
    fn random(rng: &mut fastrand::Rng, member: usize, count: usize) -> Self {
        let most = [300, 3000, 20_000][rng.usize(0..3)];
        let long = rng.u64(0..most) / 10 * 10;
        let other = (member + rng.usize(1..count)) % count;
        match rng.u32(0..32) {
            0 | 1 => Self::Leave,
            2 | 3 => Self::Join,
            4..=6 => Self::Drop(long),
            7 => Self::ServerLoses(long.min(10_000)),
            8 => Self::Die(rng.u64(0..5000), long),
            9 => Self::Freeze(long),
            10..=12 => Self::Block(other, long),
            13 if rng.bool() => Self::Move,
            13 => Self::Rebind,
            14 | 15 => Self::Restart(other),
            16 => Self::RestartAll,
            17 => Self::Expire,
            18 => Self::ServerRestart(long.min(10_000)),
            19 => Self::GoingAway(rng.u64(0..4000), rng.u64(0..3000)),
            20 => Self::Lose(rng.u64(1..4)),
            21 => Self::Duplicate,
            22 => Self::Say,
            23..=26 => Self::Remove(rng.u64(0..4)),
            _ => Self::Add(rng.u64(0..4)),
        }
    }
}

impl Display for Plan {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "seed={} members=", self.seed)?;
        for kind in &self.members {
            f.write_str(match kind {
                Kind::Token => "t",
                Kind::Key => "k",
            })?;
        }
        for (name, value) in self.weather.parts() {
            write!(f, " {name}={value}")?;
        }
        for Step { at, member, action } in &self.steps {
            let (name, args) = action.words();
            write!(f, "\n{at} {member} {name}")?;
            args.iter().try_for_each(|arg| write!(f, " {arg}"))?;
        }
        Ok(())
    }
}

impl Weather {
    fn parts(&self) -> [(&'static str, u64); 8] {
        [
            ("loss", u64::from(self.loss)),
            ("failures", u64::from(self.failures)),
            ("hangs", u64::from(self.hangs)),
            ("unreachable", u64::from(self.unreachable)),
            ("deaf", u64::from(self.deaf)),
            ("until", self.until),
            ("delay", self.delay),
            ("slow", self.slow),
        ]
    }

    pub fn set(&mut self, name: &str, value: u64) -> Option<()> {
        let share = u32::try_from(value).ok();
        match name {
            "loss" => self.loss = share?,
            "failures" => self.failures = share?,
            "hangs" => self.hangs = share?,
            "unreachable" => self.unreachable = share?,
            "deaf" => self.deaf = share?,
            "until" => self.until = value,
            "delay" => self.delay = value,
            "slow" => self.slow = value,
            _ => return None,
        }
        Some(())
    }
}

impl FromStr for Plan {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let mut plan = Self {
            seed: 0,
            members: Vec::new(),
            weather: Weather::default(),
            steps: Vec::new(),
        };
        for word in lines.next().unwrap_or_default().split(' ') {
            let (name, value) = word.split_once('=').ok_or(word)?;
            if name == "members" {
                let kind = |letter| match letter {
                    't' => Some(Kind::Token),
                    'k' => Some(Kind::Key),
                    _ => None,
                };
                plan.members = value.chars().map(kind).collect::<Option<_>>().ok_or(word)?;
                continue;
            }
            let value: u64 = value.parse().map_err(|_| word)?;
            match name {
                "seed" => plan.seed = value,
                name => plan.weather.set(name, value).ok_or(word)?,
            }
        }
        for line in lines {
            let words: Vec<&str> = line.split(' ').collect();
            let [at, member, name, args @ ..] = words.as_slice() else {
                return Err(line.into());
            };
            let args: Result<Vec<u64>, _> = args.iter().map(|arg| arg.parse()).collect();
            plan.steps.push(Step {
                at: at.parse().map_err(|_| line)?,
                member: member.parse().map_err(|_| line)?,
                action: Action::read(name, &args.map_err(|_| line)?).ok_or(line)?,
            });
        }
        Ok(plan)
    }
}
