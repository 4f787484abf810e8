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

use super::{
    entry::{Change, Entry, Failure, Illegal, State, named},
    event::Fact,
    shipment::{Quantities, Shipment, Standing, Undo},
    step::{Key, Recovery, Step, Subject},
};

/// What is put to the saga.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// The shipment was just created.
    Accept,
    /// A worker took up a work order: the first time, again, or after another worker died over it.
    Begin(Key, i32),
    /// What became of what [`Plan::act`] told it to do under this work order.
    Report(Key, i32, Outcome),
    /// Somebody wants it cancelled.
    Cancel,
    /// An operator wants an entry tried again.
    Retry(Key),
    /// An operator found out what became of an entry that waits for one.
    Resolve(Key, Resolution),
}

named! {
    /// What became of one attempt.
    Outcome, "outcome" {
        /// Done, or found done. When undoing: undone.
        Done = "done",
        /// Certainly not done. What a lookup says that found nothing.
        NotDone = "not_done",
        /// No effect now, worth trying later. Charged as an attempt.
        Later = "later",
        /// Not even tried: the destination's breaker is open. Charged to nobody.
        Held = "held",
        /// Taken on and not through yet, such as a refund. Asked again; charged to nobody.
        Waiting = "waiting",
        /// Refused for good.
        Refused = "refused",
        /// It may have been done or not.
        Lost = "lost",
    }
}

named! {
    /// What an operator found out.
    Resolution, "resolution" {
        /// It is done (or undone, where that was the question).
        Done = "done",
        /// It is not done, and is to be tried again.
        NotDone = "not_done",
        /// It is not done and never will be.
        Never = "never",
    }
}

named! {
    /// What a worker is to do.
    Act, "act" {
        /// The step itself.
        Do = "do",
        /// Find out whether it was done.
        LookUp = "look_up",
        /// Undo it. An undoing that was begun before is looked up first where it is not harmless to repeat.
        Compensate = "compensate",
    }
}

/// One thing to store. All of a plan's are stored in one transaction, in order, or none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Put the entry into the ledger in place of what it was: a compare-and-set.
    Move {
        /// As it was seen.
        from: Entry,
        /// As it is to be.
        to: Entry,
    },
    /// Send a work order for the entry: `to.task` of the move before it.
    Order(Key, i32),
    /// Undo the shipment from now on, for this reason: its state becomes [`Undo::standing`].
    Undo(Undo),
    /// Move the shipment's share of the order's quantities.
    Quantities(Quantities),
    /// Store the shipment's state.
    Become(Standing),
    /// Tell everybody, about the case or party if it is about one.
    Announce(Fact, Option<Subject>),
}

/// When a work order is to be tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Again {
    /// Whether the attempt counts. What does not count is tried for ever.
    pub charged: bool,
    /// What it will be about, as things stand.
    pub act: Act,
}

/// The answer to an input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// What to store.
    pub decisions: Vec<Decision>,
    /// To `Begin`: what to do now. `None`: nothing; the work order is settled.
    pub act: Option<Act>,
    /// To `Report`: the work order is not settled, and to be brought again.
    pub again: Option<Again>,
    /// The shipment when all is stored.
    pub shipment: Shipment,
}

/// How often something is tried. Each at least 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Attempts at a step.
    pub attempts: i32,
    /// Attempts to look it up, or to undo it.
    pub checks: i32,
}

impl Default for Limits {
    /// 8 attempts as relay's own, and more patience where money is at stake already.
    fn default() -> Self {
        Self { attempts: 8, checks: 20 }
    }
}

/// Why an input is refused. Nothing is to be stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is being undone, or is undone.
    #[error("the shipment is {0} and can't be cancelled")]
    Undone(Standing),
    /// The carrier has a parcel of it.
    #[error("the carrier has the parcel already: the shipment can't be cancelled, only returned")]
    Collected,
    /// The shipment has no such entry.
    #[error("the shipment has no step {0}")]
    NoEntry(Key),
    /// An operator may act only on what waits for one.
    #[error("{0} is {1} and does not wait for an operator")]
    NotWaiting(Key, State),
    /// Trying again could do it twice, and nobody else can be asked.
    #[error("{0} may have been done: find out, and resolve it")]
    Unclear(Key),
    /// That can't be what happened to an entry in this state.
    #[error("{0} is {1}: it can't be resolved as {2}")]
    NoSense(Key, State, Resolution),
    /// A defect of this program.
    #[error(transparent)]
    Illegal(#[from] Illegal),
}

/// What follows from an input.
///
/// # Errors
/// When it is refused. `Accept`, `Begin` and `Report` never are, but for a defect.
pub fn decide(shipment: &Shipment, input: &Input, limits: Limits) -> Result<Plan, Refusal> {
    let mut draft = Draft {
        plan: Plan { decisions: vec![], act: None, again: None, shipment: shipment.clone() },
        limits,
    };
    match input {
        Input::Accept => draft.announce(Fact::Requested),
        Input::Begin(key, task) => draft.begin(*key, *task)?,
        Input::Report(key, task, outcome) => draft.report(*key, *task, *outcome)?,
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

    fn cancel(&mut self) -> Result<(), Refusal> {
        let shipment = &self.plan.shipment;
        if shipment.undo.is_some() {
            return Err(Refusal::Undone(shipment.standing));
        }
        if shipment.collected {
            return Err(Refusal::Collected);
        }
        self.undo(Undo::Cancelled);
        self.announce(Fact::CancelRequested);
        Ok(())
    }

    fn retry(&mut self, key: Key) -> Result<(), Refusal> {
        let entry = self.entry(key)?;
        match entry.state {
            // Undoing goes on; there is nothing to try again. Follow asks for it when it may begin.
            State::Failed if self.plan.shipment.undo.is_none() => {
                self.change(&entry, Change::Reopen)?;
            }
            _ if entry.stalled && key.recovery() == Recovery::Person => return Err(Refusal::Unclear(key)),
            _ if entry.stalled => {
                let fresh = Entry { checks: 0, stalled: false, ..entry.clone() };
                self.write(&entry, fresh.clone());
                self.ask(&fresh);
            }
            state => return Err(Refusal::NotWaiting(key, state)),
        }
        Ok(())
    }

    fn resolve(&mut self, key: Key, resolution: Resolution) -> Result<(), Refusal> {
        let entry = self.entry(key)?;
        match (entry.state, resolution) {
            // What nobody depends on may be left undone.
            (State::Failed, Resolution::Never) if !key.step.is_critical() => {
                self.change(&entry, Change::Skip)?;
            }
            _ if !entry.stalled => return Err(Refusal::NotWaiting(key, entry.state)),
            (State::Unknown, Resolution::Done) => self.succeed(&entry)?,
            (State::Unknown, Resolution::Never) => self.fail(&entry, Failure::Refused)?,
            (State::Unknown, Resolution::NotDone) => {
                let fresh = Entry { attempts: 0, asked: false, ..entry.changed(Change::Postpone)? };
                self.write(&entry, fresh);
            }
            (State::Compensating, Resolution::Done) => self.undone(&entry)?,
            (State::Compensating, Resolution::NotDone) => {
                let fresh = Entry { checks: 0, stalled: false, ..entry.clone() };
                self.write(&entry, fresh.clone());
                self.ask(&fresh);
            }
            (state, _) => return Err(Refusal::NoSense(key, state, resolution)),
        }
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
