//! What is not a step's usual way: work orders that died or got lost, cancellations, operators. Pure.

use super::{Draft, Refusal, Resolution};
use crate::shipping::{
    entry::{Change, Entry, Failure, State},
    event::Fact,
    shipment::Undo,
    step::{Key, Recovery},
};

impl Draft {
    /// Nobody brings the work order again, so the entry comes to a visible state: failed if nothing can have happened or
    /// doing it again is harmless, else waiting for an operator.
    pub(super) fn bury(&mut self, key: Key, task: i32) -> Result<(), Refusal> {
        let Some(entry) = self.ordered(key, task) else { return Ok(()) };
        match entry.state {
            State::Pending if self.plan.shipment.may_begin(key) => {
                let begun = self.change(&entry, Change::Begin)?;
                self.fail(&begun, Failure::Exhausted)?;
            }
            State::Pending => self.write(&entry, Entry { asked: false, ..entry.clone() }),
            State::Running if key.recovery() == Recovery::Repeat => self.fail(&entry, Failure::Exhausted)?,
            State::Running => {
                let lost = self.change(&entry, Change::Lose)?;
                self.stall(&lost);
            }
            State::Unknown | State::Compensating => self.stall(&entry),
            State::Succeeded | State::Failed | State::Compensated | State::Skipped => {}
        }
        Ok(())
    }

    /// Another work order for the same. Should the first turn up all the same, it finds nothing to do.
    pub(super) fn remind(&mut self, key: Key) -> Result<(), Refusal> {
        let entry = self.entry(key)?;
        if entry.asked {
            self.ask(&entry);
        }
        Ok(())
    }

    pub(super) fn cancel(&mut self) -> Result<(), Refusal> {
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

    pub(super) fn retry(&mut self, key: Key) -> Result<(), Refusal> {
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

    pub(super) fn resolve(&mut self, key: Key, resolution: Resolution) -> Result<(), Refusal> {
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
}
