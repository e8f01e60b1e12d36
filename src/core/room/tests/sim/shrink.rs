//! A smaller plan that fails in the same way.

use super::plan::{Plan, Step};

/// Tries until nothing can be taken away, or so many plans have been tried.
pub fn minimise(mut plan: Plan, most: usize, fails: &mut dyn FnMut(&Plan) -> bool) -> Plan {
    let mut left = most;
    let mut fails = |plan: &Plan| {
        left = left.saturating_sub(1);
        left > 0 && fails(plan)
    };
    loop {
        let before = plan.clone();
        fewer_members(&mut plan, &mut fails);
        fewer_steps(&mut plan, &mut fails);
        fairer(&mut plan, &mut fails);
        shorter(&mut plan, &mut fails);
        if plan == before {
            return plan;
        }
    }
}

fn keep(plan: &mut Plan, new: Plan, fails: &mut dyn FnMut(&Plan) -> bool) -> bool {
    let better = *plan != new && fails(&new);
    if better {
        *plan = new;
    }
    better
}

/// ddmin: leaves out ever smaller parts.
fn fewer_steps(plan: &mut Plan, fails: &mut dyn FnMut(&Plan) -> bool) {
    let mut part = plan.steps.len().div_ceil(2);
    while part > 0 {
        let mut start = 0;
        while start < plan.steps.len() {
            let mut new = plan.clone();
            let end = (start + part).min(new.steps.len());
            new.steps.drain(start..end);
            if !keep(plan, new, fails) {
                start = end;
            }
        }
        part /= 2;
    }
}

/// Those who are left move up.
fn fewer_members(plan: &mut Plan, fails: &mut dyn FnMut(&Plan) -> bool) {
    for gone in (0..plan.members.len()).rev() {
        let mut new = plan.clone();
        new.members.remove(gone);
        let moved = |member: usize| member - usize::from(member > gone);
        let stays = |step: &Step| {
            let mut action = step.action;
            step.member != gone && action.other().is_none_or(|other| *other != gone)
        };
        new.steps.retain(stays);
        for step in &mut new.steps {
            step.member = moved(step.member);
            if let Some(other) = step.action.other() {
                *other = moved(*other);
            }
        }
        if new.members.len() > 1 {
            keep(plan, new, fails);
        }
    }
}

fn fairer(plan: &mut Plan, fails: &mut dyn FnMut(&Plan) -> bool) {
    let kinds = ["loss", "failures", "hangs", "unreachable", "deaf", "until"];
    for (name, value) in kinds
        .map(|name| (name, 0))
        .into_iter()
        .chain([("delay", 60), ("slow", 20)])
    {
        let mut new = plan.clone();
        if new.weather.set(name, value).is_some() {
            keep(plan, new, fails);
        }
    }
}

fn shorter(plan: &mut Plan, fails: &mut dyn FnMut(&Plan) -> bool) {
    for index in 0..plan.steps.len() {
        while let Some(action) = plan.steps[index].action.shorter() {
            let mut new = plan.clone();
            new.steps[index].action = action;
            if !keep(plan, new, fails) {
                break;
            }
        }
        let before = index.checked_sub(1).map_or(0, |index| plan.steps[index].at);
        for step in [1000, 100, 10] {
            let mut new = plan.clone();
            new.steps[index].at = (new.steps[index].at / step * step).max(before);
            if keep(plan, new, fails) {
                break;
            }
        }
    }
}
