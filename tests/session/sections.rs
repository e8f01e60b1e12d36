//! Just enough of an SDP layer to play a collision of offers.

/// Session part and sections, each with its line ends.
pub fn split(sdp: &str) -> (String, Vec<String>) {
    let sdp = sdp.replace("\r\n", "\n");
    let mut parts = sdp.split("\nm=");
    let head = parts.next().unwrap_or_default().to_owned();
    (head, parts.map(|part| format!("m={}", part.trim_end())).collect())
}

pub fn mid(section: &str) -> &str {
    section
        .lines()
        .find_map(|line| line.strip_prefix("a=mid:"))
        .unwrap()
}

/// Sections in this order, all others left out; the group follows.
pub fn join(head: &str, sections: &[String]) -> String {
    let alive = sections.iter().filter(|section| !section.contains("a=inactive"));
    let group: String = alive.map(|section| format!(" {}", mid(section))).collect();
    let head = head.lines().map(|line| match line.starts_with("a=group:") {
        true => format!("a=group:BUNDLE{group}"),
        false => line.to_owned(),
    });
    let lines = head.chain(
        sections
            .iter()
            .flat_map(|section| section.lines().map(str::to_owned)),
    );
    lines.map(|line| line + "\r\n").collect()
}

/// A never negotiated section of ours, as the other side would have rejected it, with that side's transport.
pub fn ghost(own: &str, theirs: &str) -> String {
    let transport = ["a=ice-ufrag:", "a=ice-pwd:", "a=fingerprint:", "a=setup:"];
    let taken = |prefix: &str| {
        theirs
            .lines()
            .find(|line| line.starts_with(prefix))
            .unwrap()
            .to_owned()
    };
    let lines = own
        .lines()
        .filter(|line| !line.starts_with("a=ssrc") && *line != "a=bundle-only");
    let lines = lines.map(
        |line| match transport.iter().find(|prefix| line.starts_with(**prefix)) {
            Some(prefix) => taken(prefix),
            None => line.replace("a=sendrecv", "a=inactive"),
        },
    );
    lines.collect::<Vec<_>>().join("\n")
}
