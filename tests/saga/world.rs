//! A shipment, its messages and workers, and the world that they act on; and the account of what was done there.

use std::collections::BTreeMap;

use relay::shipping::{
    entry::{State, TRANSITIONS},
    saga::{Act, Decision, Input, Limits, Outcome, Plan, Resolution, decide},
    shipment::{Quantities, STANDINGS, Shipment, Standing},
    step::{Key, Recovery, Step, Subject},
};

/// Few, so that random histories come to the limits.
const LIMITS: Limits = Limits { attempts: 3, checks: 3 };

/// What third parties answer once the tape has run out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    /// Everything succeeds.
    Kind,
    /// Nothing can be reached.
    Away,
    /// Everything is refused.
    Unkind,
}

/// A worker at work.
#[derive(Debug)]
struct Job {
    key: Key,
    task: i32,
    act: Act,
}

/// What was done to a case or a party.
#[derive(Debug, Default, Clone, Copy)]
struct Effect {
    /// How often it was done, ever.
    done: u32,
    /// Whether it was undone.
    undone: bool,
}

impl Effect {
    fn stands(self) -> bool {
        self.done > 0 && !self.undone
    }
}

pub(crate) struct World {
    pub(crate) shipment: Shipment,
    /// Work orders that were sent and not settled, repeated ones too.
    orders: Vec<(Key, i32)>,
    jobs: Vec<Job>,
    effects: BTreeMap<Key, Effect>,
    tape: std::vec::IntoIter<u8>,
    mood: Mood,
}

impl World {
    pub(crate) fn new(shipment: Shipment, tape: Vec<u8>, mood: Mood) -> Self {
        let (orders, jobs, effects) = (vec![], vec![], BTreeMap::new());
        let mut world = Self { shipment, orders, jobs, effects, tape: tape.into_iter(), mood };
        world.input(Input::Accept);
        world
    }

    /// The next of so many choices. 0 once the tape has run out.
    fn choose(&mut self, of: usize) -> usize {
        self.tape.next().map_or(0, |byte| usize::from(byte) % of)
    }

    pub(crate) fn run(&mut self) {
        let mut turns = 0;
        while !(self.orders.is_empty() && self.jobs.is_empty()) {
            turns += 1;
            assert!(turns < 2000, "it never comes to rest: {:?}", self.shipment);
            match self.choose(14) {
                0..=3 if !self.orders.is_empty() => self.deliver(),
                0..=7 if !self.jobs.is_empty() => self.work(),
                8 if !self.orders.is_empty() => {
                    let which = self.choose(self.orders.len());
                    self.orders.push(self.orders[which]);
                }
                9 if !self.jobs.is_empty() => self.crash(),
                10 if self.choose(3) == 0 => {
                    self.try_input(&Input::Cancel);
                }
                11 => self.operate(),
                12 if !self.orders.is_empty() => self.mislay(Input::Bury),
                13 if !self.orders.is_empty() => self.mislay(|key, _| Input::Remind(key)),
                _ if !self.orders.is_empty() => self.deliver(),
                _ => self.work(),
            }
        }
    }

    /// An operator who knows the truth deals with everything that waits, in a world that has become kind.
    pub(crate) fn attend(&mut self) {
        self.mood = Mood::Kind;
        self.tape = Vec::new().into_iter();
        for _ in 0..100 {
            let waiting = |shipment: &Shipment| {
                let stuck = shipment
                    .entries
                    .iter()
                    .find(|entry| entry.stalled || (entry.state == State::Failed && shipment.undo.is_none()));
                stuck.map(|entry| entry.key)
            };
            let Some(key) = waiting(&self.shipment) else { return };
            match key.recovery() {
                Recovery::Person if self.shipment.entry(key).is_some_and(|entry| entry.stalled) => {
                    self.resolve(key);
                }
                _ => {
                    assert!(self.try_input(&Input::Retry(key)), "{key} can't be retried: {:?}", self.shipment)
                }
            }
            self.run();
        }
        panic!("an operator never finishes: {:?}", self.shipment);
    }

    /// A work order is taken away for good, and the saga is told.
    fn mislay(&mut self, told: fn(Key, i32) -> Input) {
        let which = self.choose(self.orders.len());
        let (key, task) = self.orders[which];
        if self.jobs.iter().any(|job| job.key == key) {
            return;
        }
        self.orders.retain(|order| *order != (key, task));
        self.input(told(key, task));
    }

    fn operate(&mut self) {
        let which = self.choose(self.shipment.entries.len());
        let key = self.shipment.entries[which].key;
        if self.choose(2) == 0 {
            self.try_input(&Input::Retry(key));
        } else {
            self.resolve(key);
        }
    }

    /// Says what is true of an entry that waits for somebody to say so.
    fn resolve(&mut self, key: Key) {
        let Some(entry) = self.shipment.entry(key).cloned() else { return };
        let stands = self.effects.get(&key).is_some_and(|effect| effect.stands());
        let resolution = match entry.state {
            State::Unknown if stands => Resolution::Done,
            State::Unknown => [Resolution::NotDone, Resolution::Never][self.choose(2)],
            State::Compensating if stands => [Resolution::NotDone, Resolution::Done][self.choose(2)],
            State::Compensating => Resolution::Done,
            _ => return,
        };
        if entry.stalled && entry.state == State::Compensating && resolution == Resolution::Done {
            // By hand, if it was not yet.
            self.effects.entry(key).or_default().undone = true;
        }
        self.try_input(&Input::Resolve(key, resolution));
    }

    fn deliver(&mut self) {
        let which = self.choose(self.orders.len());
        let (key, task) = self.orders[which];
        // Two deliveries of one message are not worked on at once: the claim in the inbox sees to it.
        if self.jobs.iter().any(|job| (job.key, job.task) == (key, task)) {
            return self.work();
        }
        self.orders.remove(which);
        if matches!(key.step, Step::RecordTracking | Step::CreateInvoice | Step::FulfilOrder) {
            return self.transact(key, task);
        }
        let plan = self.input(Input::Begin(key, task));
        if let Some(act) = plan.act {
            self.jobs.push(Job { key, task, act });
        }
    }

    /// One transaction from beginning to end, or nothing.
    fn transact(&mut self, key: Key, task: i32) {
        if self.choose(6) == 5 {
            self.orders.push((key, task));
            return;
        }
        let Some(act) = self.input(Input::Begin(key, task)).act else { return };
        let outcome = match (self.choose(6), self.mood) {
            (0, Mood::Kind) | (1 | 2, _) => Outcome::Done,
            (0, Mood::Unkind) | (3, _) if act == Act::Do => Outcome::Refused,
            _ => Outcome::Later,
        };
        if outcome == Outcome::Done {
            self.affect(key, act);
        }
        self.report(key, task, outcome);
    }

    fn work(&mut self) {
        let which = self.choose(self.jobs.len());
        let Job { key, task, act } = self.jobs.swap_remove(which);
        let stands = self.effects.get(&key).is_some_and(|effect| effect.stands());
        let usual = match self.mood {
            Mood::Kind => Outcome::Done,
            Mood::Away => Outcome::Later,
            Mood::Unkind => Outcome::Refused,
        };
        let answer = match self.choose(10) {
            0 => usual,
            1..=3 => Outcome::Done,
            4 => Outcome::Refused,
            5 => Outcome::Later,
            6 => Outcome::Held,
            7 => Outcome::Waiting,
            8 => Outcome::NotDone,
            _ => Outcome::Lost,
        };
        let outcome = match (act, answer) {
            // A lookup tells the truth or nothing.
            (Act::LookUp, Outcome::Done | Outcome::Refused | Outcome::NotDone | Outcome::Waiting) => {
                if stands { Outcome::Done } else { Outcome::NotDone }
            }
            (_, Outcome::Lost) => {
                if act != Act::LookUp && self.choose(2) == 0 {
                    self.affect(key, act);
                }
                Outcome::Lost
            }
            (_, Outcome::Done) => {
                self.affect(key, act);
                Outcome::Done
            }
            (_, other) => other,
        };
        self.report(key, task, outcome);
    }

    /// A worker dies, before or after its effect; its message comes again.
    fn crash(&mut self) {
        let which = self.choose(self.jobs.len());
        let Job { key, task, act } = self.jobs.swap_remove(which);
        if act != Act::LookUp && self.choose(2) == 0 {
            self.affect(key, act);
        }
        self.orders.push((key, task));
    }

    /// What an act does to the world, which does as it is told.
    fn affect(&mut self, key: Key, act: Act) {
        if act == Act::Compensate {
            // Voiding what is void says so and does nothing. Who was told twice was told twice.
            let effect = self.effects.entry(key).or_default();
            let mail = matches!(key.subject, Subject::Mail(_));
            assert!(!(mail && effect.undone), "{key} was told the correction twice");
            effect.undone = true;
            return;
        }
        if key.step == Step::CreateInvoice {
            assert!(self.labels().all(Effect::stands), "an invoice without all labels: {:?}", self.effects);
        }
        let effect = self.effects.entry(key).or_default();
        effect.done += 1;
        let once = !matches!(key.subject, Subject::Webhook(_)) && key.step != Step::ValidateAddress;
        assert!(!once || effect.done == 1, "{key} was done {} times", effect.done);
    }

    fn labels(&self) -> impl Iterator<Item = Effect> {
        self.shipment
            .of(Step::BuyLabel)
            .map(|entry| self.effects.get(&entry.key).copied().unwrap_or_default())
    }

    fn report(&mut self, key: Key, task: i32, outcome: Outcome) {
        let plan = self.input(Input::Report(key, task, outcome));
        let out = self.shipment.entry(key).is_some_and(|entry| entry.asked && entry.task == task);
        assert_eq!(out, plan.again.is_some(), "{key} after {outcome}: {:?}", self.shipment.entry(key));
        if plan.again.is_some() {
            self.orders.push((key, task));
        }
    }

    fn try_input(&mut self, input: &Input) -> bool {
        match decide(&self.shipment, input, LIMITS) {
            Ok(plan) => self.store(&plan),
            Err(_) => return false,
        }
        true
    }

    fn input(&mut self, input: Input) -> Plan {
        let plan = decide(&self.shipment, &input, LIMITS)
            .unwrap_or_else(|refusal| panic!("{input:?}: {refusal}: {:?}", self.shipment));
        self.store(&plan);
        plan
    }

    /// Stores decisions as the database would, with its guards.
    fn store(&mut self, plan: &Plan) {
        for decision in &plan.decisions {
            match decision {
                Decision::Move { from, to } => {
                    let legal = from.state == to.state
                        || TRANSITIONS.iter().any(|(a, _, b)| (*a, *b) == (from.state, to.state));
                    assert!(legal, "{} from {} to {}", to.key, from.state, to.state);
                    assert_eq!(to.failure.is_some(), to.state == State::Failed, "{to:?}");
                    assert!(
                        !to.stalled || matches!(to.state, State::Unknown | State::Compensating),
                        "{to:?}"
                    );
                    assert!(to.attempts >= 0 && to.checks >= 0, "{to:?}");
                    let entry = self.shipment.entries.iter_mut().find(|entry| entry.key == to.key);
                    let entry = entry.expect("an entry");
                    assert_eq!(entry, from, "it was another when it was written");
                    entry.clone_from(to);
                }
                Decision::Order(key, task) => {
                    assert!(!self.orders.contains(&(*key, *task)), "ordered twice");
                    self.orders.push((*key, *task));
                }
                Decision::Undo(why) => {
                    assert_eq!(self.shipment.undo.replace(*why), None, "decided once");
                    self.stand(why.standing());
                }
                Decision::Quantities(to) => {
                    assert!(self.shipment.quantities.leads_to(*to), "{} to {to}", self.shipment.quantities);
                    self.shipment.quantities = *to;
                    if *to == Quantities::Released {
                        assert!(
                            !self.labels().any(Effect::stands),
                            "released with a label: {:?}",
                            self.effects
                        );
                        assert!(!self.invoiced(), "released with an invoice");
                    }
                }
                Decision::Become(to) => self.stand(*to),
                Decision::Announce(..) => {}
            }
        }
        assert_eq!(self.shipment, plan.shipment, "the plan says what comes of it");
    }

    fn stand(&mut self, to: Standing) {
        let change = (self.shipment.standing, to);
        assert!(STANDINGS.contains(&change), "{} to {}", change.0, change.1);
        self.shipment.standing = to;
    }

    fn invoiced(&self) -> bool {
        self.effects.get(&Key::whole(Step::CreateInvoice)).is_some_and(|effect| effect.stands())
    }

    /// At rest: a visible state, and the world is as it says.
    pub(crate) fn check_rest(&self) {
        let shipment = &self.shipment;
        assert!(shipment.standing.rests(), "{shipment:?}");
        assert!(
            shipment.entries.iter().all(|entry| !entry.asked && entry.state != State::Running),
            "{shipment:?}"
        );
        match shipment.standing {
            Standing::Shipped => {
                assert!(self.labels().all(Effect::stands) && self.invoiced(), "{:?}", self.effects);
                assert_eq!(shipment.quantities, Quantities::Fulfilled);
            }
            Standing::Cancelled | Standing::Failed => {
                assert!(!self.labels().any(Effect::stands) && !self.invoiced(), "{:?}", self.effects);
                assert_eq!(shipment.quantities, Quantities::Released);
            }
            _ => {}
        }
    }
}
