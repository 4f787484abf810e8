//! The saga: what happens next to a shipment. Pure; the ledger goes in, decisions come out.
//!
//! A worker brings a work order (`Begin`), is told what to do, does it, and reports what came of it (`Report`). Whatever
//! else follows from that, for any other step, is decided in the same breath and stored in the same transaction.
//! Everything follows from the ledger as it stands, never from which event came last, so that a repeated, late or
//! reordered one finds nothing to do.
//!
//! Before a label is bought, a final failure fails the shipment. After it, work goes forward, retried, and at last waits
//! for an operator; it goes backward only after a cancellation or a refusal that is final. Undoing goes in reverse order
//! of the steps, labels at the end; what is unknown is looked up before it is undone.

mod special;

pub use super::decision::{Act, Again, Decision, Input, Limits, Outcome, Plan, Refusal, Resolution};
use super::{
    entry::{Change, Entry, Failure, Illegal, State},
    event::Fact,
    shipment::{Quantities, Shipment, Undo},
    step::{Key, Recovery, Step, Subject},
};

/// What follows from an input.
///
/// # Errors
/// When it is refused. What workers put to it never is, but for a defect.
pub fn decide(shipment: &Shipment, input: &Input, limits: Limits) -> Result<Plan, Refusal> {
    let mut draft = Draft {
        plan: Plan { decisions: vec![], act: None, again: None, shipment: shipment.clone() },
        limits,
    };
    match input {
        Input::Accept => draft.announce(Fact::Requested),
        Input::Begin(key, task) => draft.begin(*key, *task)?,
        Input::Report(key, task, outcome) => draft.report(*key, *task, *outcome)?,
        Input::Bury(key, task) => draft.bury(*key, *task)?,
        Input::Remind(key) => draft.remind(*key)?,
        Input::Cancel => draft.cancel()?,
        Input::Retry(key) => draft.retry(*key)?,
        Input::Resolve(key, resolution) => draft.resolve(*key, *resolution)?,
    }
    // What could go on after a stale input went on when the ledger changed last.
    if !draft.plan.decisions.is_empty() {
        draft.follow()?;
    }
    if let Input::Report(key, task, _) = input {
        // Whatever followed may have settled the work order.
        let out = |entry: &&Entry| entry.asked && entry.task == *task;
        draft.plan.again = draft.plan.again.filter(|_| draft.plan.shipment.entry(*key).filter(out).is_some());
    }
    Ok(draft.plan)
}

struct Draft {
    plan: Plan,
    limits: Limits,
}

impl Draft {
    fn entry(&self, key: Key) -> Result<Entry, Refusal> {
        self.plan.shipment.entry(key).cloned().ok_or(Refusal::NoEntry(key))
    }

    fn write(&mut self, from: &Entry, to: Entry) {
        if let Some(entry) = self.plan.shipment.entries.iter_mut().find(|entry| entry.key == to.key) {
            entry.clone_from(&to);
            self.plan.decisions.push(Decision::Move { from: from.clone(), to });
        }
    }

    fn change(&mut self, from: &Entry, change: Change) -> Result<Entry, Illegal> {
        let to = from.changed(change)?;
        self.write(from, to.clone());
        Ok(to)
    }

    fn fail(&mut self, from: &Entry, failure: Failure) -> Result<(), Illegal> {
        let to = Entry { failure: Some(failure), ..from.changed(Change::Fail)? };
        self.write(from, to);
        Ok(())
    }

    /// Nothing more by itself: the work order is settled, and an operator may send another.
    fn stall(&mut self, from: &Entry) {
        self.write(from, Entry { stalled: true, asked: false, undoing: false, ..from.clone() });
    }

    /// Sends a work order.
    fn ask(&mut self, from: &Entry) {
        let to = Entry { asked: true, stalled: false, task: from.task.saturating_add(1), ..from.clone() };
        let task = to.task;
        self.write(from, to);
        self.plan.decisions.push(Decision::Order(from.key, task));
    }

    fn announce(&mut self, fact: Fact) {
        self.plan.decisions.push(Decision::Announce(fact, None));
    }

    fn announce_of(&mut self, fact: Option<Fact>, key: Key) {
        let subject = Some(key.subject).filter(|subject| *subject != Subject::Shipment);
        self.plan.decisions.extend(fact.map(|fact| Decision::Announce(fact, subject)));
    }

    fn quantities(&mut self, to: Quantities) {
        self.plan.shipment.quantities = to;
        self.plan.decisions.push(Decision::Quantities(to));
    }

    fn undo(&mut self, why: Undo) {
        self.plan.shipment.undo = Some(why);
        self.plan.shipment.standing = why.standing();
        self.plan.decisions.push(Decision::Undo(why));
    }

    /// The entry, if the work order is the one that is out for it.
    fn ordered(&self, key: Key, task: i32) -> Option<Entry> {
        self.plan
            .shipment
            .entry(key)
            .filter(|entry| entry.asked && entry.task == task && !entry.stalled)
            .cloned()
    }

    fn begin(&mut self, key: Key, task: i32) -> Result<(), Refusal> {
        let Some(entry) = self.ordered(key, task) else { return Ok(()) };
        match entry.state {
            State::Pending if self.plan.shipment.may_begin(key) => {
                self.change(&entry, Change::Begin)?;
                self.plan.act = Some(Act::Do);
            }
            // Asked again when it may.
            State::Pending => self.write(&entry, Entry { asked: false, ..entry.clone() }),
            // Its worker died, or took longer than its claim.
            State::Running => match key.recovery() {
                Recovery::Repeat if entry.attempts >= self.limits.attempts => {
                    self.fail(&entry, Failure::Exhausted)?;
                }
                Recovery::Repeat => {
                    self.write(&entry, Entry { attempts: entry.attempts.saturating_add(1), ..entry.clone() });
                    self.plan.act = Some(Act::Do);
                }
                Recovery::LookUp => {
                    let entry = self.change(&entry, Change::Lose)?;
                    self.check(&entry, Act::LookUp);
                }
                Recovery::Person => {
                    let entry = self.change(&entry, Change::Lose)?;
                    self.stall(&entry);
                }
            },
            State::Unknown => self.check(&entry, Act::LookUp),
            State::Compensating if entry.undoing && key.recovery() == Recovery::Person => self.stall(&entry),
            State::Compensating => self.check(&entry, Act::Compensate),
            State::Succeeded | State::Failed | State::Compensated | State::Skipped => {}
        }
        Ok(())
    }

    /// Begins to look an entry up or to undo it, unless that was begun too often already: it may kill its workers.
    fn check(&mut self, entry: &Entry, act: Act) {
        if entry.checks >= self.limits.checks {
            return self.stall(entry);
        }
        let undoing = act == Act::Compensate;
        self.write(entry, Entry { checks: entry.checks.saturating_add(1), undoing, ..entry.clone() });
        self.plan.act = Some(act);
    }

    fn report(&mut self, key: Key, task: i32, outcome: Outcome) -> Result<(), Refusal> {
        let Some(entry) = self.ordered(key, task) else { return Ok(()) };
        match entry.state {
            State::Running => self.report_done(&entry, outcome)?,
            State::Unknown => self.report_found(&entry, outcome)?,
            State::Compensating => self.report_undone(&entry, outcome)?,
            // Somebody else has reported, or nobody has begun.
            _ => {}
        }
        Ok(())
    }

    fn report_done(&mut self, entry: &Entry, outcome: Outcome) -> Result<(), Illegal> {
        let recovery = entry.key.recovery();
        match outcome {
            Outcome::Done => self.succeed(entry)?,
            Outcome::Refused => self.fail(entry, Failure::Refused)?,
            Outcome::Held => {
                let uncharged = Entry { attempts: entry.attempts - 1, ..entry.changed(Change::Postpone)? };
                self.write(entry, uncharged);
                self.again(false, Act::Do);
            }
            Outcome::Lost | Outcome::Waiting if recovery == Recovery::LookUp => {
                self.change(entry, Change::Lose)?;
                self.again(true, Act::LookUp);
            }
            Outcome::Lost | Outcome::Waiting if recovery == Recovery::Person => {
                let entry = self.change(entry, Change::Lose)?;
                self.stall(&entry);
            }
            Outcome::NotDone | Outcome::Later | Outcome::Lost | Outcome::Waiting => self.postpone(entry)?,
        }
        Ok(())
    }

    /// What a lookup says.
    fn report_found(&mut self, entry: &Entry, outcome: Outcome) -> Result<(), Illegal> {
        match outcome {
            Outcome::Done => self.succeed(entry)?,
            Outcome::Refused => self.fail(entry, Failure::Refused)?,
            Outcome::NotDone => self.postpone(entry)?,
            Outcome::Held => self.hold(entry, entry.checks - 1, Act::LookUp),
            Outcome::Later | Outcome::Lost | Outcome::Waiting => self.check_later(entry, Act::LookUp),
        }
        Ok(())
    }

    fn report_undone(&mut self, entry: &Entry, outcome: Outcome) -> Result<(), Illegal> {
        match outcome {
            Outcome::Done => self.undone(entry)?,
            Outcome::Refused => self.stall(entry),
            Outcome::Held => self.hold(entry, entry.checks - 1, Act::Compensate),
            // It was taken on, so whatever failed before is forgotten.
            Outcome::Waiting => self.hold(entry, 0, Act::Compensate),
            Outcome::Lost if entry.key.recovery() == Recovery::Person => self.stall(entry),
            Outcome::NotDone | Outcome::Later | Outcome::Lost => self.check_later(entry, Act::Compensate),
        }
        Ok(())
    }

    fn again(&mut self, charged: bool, act: Act) {
        self.plan.again = Some(Again { charged, act });
    }

    fn hold(&mut self, entry: &Entry, checks: i32, act: Act) {
        self.write(entry, Entry { checks, undoing: false, ..entry.clone() });
        self.again(false, act);
    }

    fn check_later(&mut self, entry: &Entry, act: Act) {
        if entry.checks >= self.limits.checks {
            return self.stall(entry);
        }
        self.write(entry, Entry { undoing: false, ..entry.clone() });
        self.again(true, act);
    }

    fn postpone(&mut self, entry: &Entry) -> Result<(), Illegal> {
        if entry.attempts >= self.limits.attempts {
            return self.fail(entry, Failure::Exhausted);
        }
        self.change(entry, Change::Postpone)?;
        self.again(true, Act::Do);
        Ok(())
    }

    fn succeed(&mut self, entry: &Entry) -> Result<(), Illegal> {
        self.change(entry, Change::Succeed)?;
        if entry.key.step == Step::FulfilOrder {
            self.quantities(Quantities::Fulfilled);
        }
        self.announce_of(Fact::done(entry.key.step), entry.key);
        Ok(())
    }

    fn undone(&mut self, entry: &Entry) -> Result<(), Illegal> {
        self.change(entry, Change::Undo)?;
        if entry.key.step == Step::FulfilOrder {
            self.quantities(Quantities::Reserved);
        }
        self.announce_of(Fact::undone(entry.key.step), entry.key);
        Ok(())
    }

    /// Whatever follows from the ledger, until nothing does. Every round moves an entry on, so it ends.
    fn follow(&mut self) -> Result<(), Refusal> {
        if self.plan.shipment.undo.is_none() && self.plan.shipment.is_hopeless() {
            self.undo(Undo::Failed);
        }
        if self.plan.shipment.undo.is_some() {
            self.follow_backward()?;
        } else {
            let waiting: Vec<Entry> = self.plan.shipment.entries.clone();
            for entry in waiting {
                let may =
                    entry.state == State::Pending && !entry.asked && self.plan.shipment.may_begin(entry.key);
                if may {
                    self.ask(&entry);
                }
            }
        }
        let standing = self.plan.shipment.derived();
        if standing != self.plan.shipment.standing {
            self.plan.shipment.standing = standing;
            self.plan.decisions.push(Decision::Become(standing));
            if let Some(fact) = Fact::became(standing) {
                self.announce(fact);
            }
        }
        Ok(())
    }

    fn follow_backward(&mut self) -> Result<(), Refusal> {
        for entry in self.plan.shipment.entries.clone() {
            match entry.state {
                State::Pending => {
                    self.change(&entry, Change::Skip)?;
                }
                // An order that was put down, or that waits for an operator, aside: what is unknown is looked up.
                State::Unknown if !entry.asked && !entry.stalled => self.ask(&entry),
                _ => {}
            }
        }
        for step in Step::ALL.iter().rev().filter(|step| step.has_compensation()) {
            for entry in self.plan.shipment.of(*step).cloned().collect::<Vec<_>>() {
                if entry.state == State::Succeeded {
                    let entry = self.change(&entry, Change::Compensate)?;
                    self.ask(&entry);
                }
            }
            let settled = self.plan.shipment.of(*step).all(Shipment::is_undone);
            if step.is_critical() && !settled {
                break;
            }
        }
        if self.plan.shipment.is_all_undone() && self.plan.shipment.quantities == Quantities::Reserved {
            self.quantities(Quantities::Released);
        }
        Ok(())
    }
}
