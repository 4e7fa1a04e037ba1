//! The walk through all sides at once, and the rules.

use std::cmp::Ordering;
use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;

use crate::error::Result;
use crate::model::diff::{Differs, NodeInfo, Trees};
use crate::model::object::ObjectId;
use crate::model::plan::names::{beside, fold};
use crate::model::plan::owner::{Claim, Claims, Folders};
use crate::model::plan::{
    Action, ConflictReason, KeepReason, OnConflict, Options, PathPlan, Sides, Totals,
};
use crate::model::snapshot::{Node, SkipReason, Tree};

/// Plans the restore of one captured folder.
///
/// Hands every path where something would happen, or where something stays that the checkpoint has
/// otherwise, to `take`, and gives their numbers. A file that differs in nothing but its time is not
/// handed out. What is made comes after the folder it lies in; what goes comes before the folder it
/// lies in; names come in the order of their bytes. On a case-folding file system a name can be made
/// that another one gives way to, so whatever goes has to go first. An error of `take` or `source`
/// ends it.
///
/// A conflict is only handed out as such, with nothing of what would lie below it: it is up to the
/// caller to apply nothing then.
pub fn plan_root(
    source: &dyn Trees,
    sides: &Sides<'_>,
    options: &Options<'_>,
    take: &mut dyn FnMut(PathPlan) -> Result<()>,
) -> Result<Totals> {
    let mut walk = Walk {
        folders: Folders::new(source),
        sides,
        options,
        take,
        totals: Totals::default(),
        path: Vec::new(),
        stack: Vec::new(),
        pending: 0,
        trial: false,
    };
    if sides.now != sides.wanted {
        let bases = sides.bases.iter().map(|base| walk.folders.get(Some(base)));
        let bases = bases.collect::<Result<_>>()?;
        let level = walk.level(sides.now.as_ref(), sides.wanted.as_ref(), bases)?;
        walk.stack.push(level);
    }
    while !walk.stack.is_empty() {
        walk.step()?;
    }
    Ok(walk.totals)
}

struct Walk<'a> {
    folders: Folders<'a>,
    sides: &'a Sides<'a>,
    options: &'a Options<'a>,
    take: &'a mut dyn FnMut(PathPlan) -> Result<()>,
    totals: Totals,
    path: Vec<u8>,
    stack: Vec<Level>,
    /// How many levels have a folder that is made as soon as something in it is.
    pending: usize,
    /// It is only tried out what would happen: nothing is handed out.
    trial: bool,
}

/// A folder that is being walked through.
struct Level {
    /// The length of its own path.
    path: usize,
    now: Rc<Tree>,
    wanted: Rc<Tree>,
    now_at: usize,
    wanted_at: usize,
    /// What the bases have there, the newest first; nothing is an empty folder.
    bases: Vec<Rc<Tree>>,
    /// What the checkpoints have there of what differs, once somebody asked.
    claims: Option<Claims>,
    /// Something of it that the checkpoint does not have stays.
    stays: bool,
    /// What is handed out at its end: the folder goes, or gives way to something else.
    end: Option<PathPlan>,
    /// What is handed out as soon as something in it is made.
    pending: Option<PathPlan>,
    /// The names of both sides by what they have in common; empty unless case is folded.
    folded: HashMap<Vec<u8>, Vec<Vec<u8>>>,
    /// The names that were given to what is renamed aside.
    besides: BTreeSet<Vec<u8>>,
}

impl Level {
    /// The next name, with its place on each side.
    fn next(&mut self) -> Option<(Option<usize>, Option<usize>)> {
        let now = self.now.entries.get(self.now_at);
        let wanted = self.wanted.entries.get(self.wanted_at);
        let order = match (now, wanted) {
            (None, None) => return None,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(now), Some(wanted)) => now.name.cmp(&wanted.name),
        };
        let now = (order != Ordering::Greater).then_some(self.now_at);
        let wanted = (order != Ordering::Less).then_some(self.wanted_at);
        self.now_at += usize::from(now.is_some());
        self.wanted_at += usize::from(wanted.is_some());
        Some((now, wanted))
    }

    /// Where the names of its entries begin in their paths.
    fn names_at(&self) -> usize {
        match self.path {
            0 => 0,
            path => path + 1,
        }
    }

    /// Other names that a case-folding file system takes for this one.
    fn twins<'a>(&'a self, name: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        let folded = (!self.folded.is_empty()).then(|| self.folded.get(&fold(name)));
        let names = folded.flatten().into_iter().flatten();
        names.map(Vec::as_slice).filter(move |one| *one != name)
    }

    /// Whether the checkpoint has another name that is taken for this one.
    fn collides(&self, name: &[u8]) -> bool {
        self.twins(name).any(|twin| self.wanted.get(twin).is_some())
    }
}

fn folder(node: Option<&Node>) -> Option<&ObjectId> {
    match node {
        Some(Node::Directory { tree, .. }) => Some(tree),
        _ => None,
    }
}

/// True if two things have the same content, whatever their mode and time; of folders only what they
/// are themselves.
fn same_content(one: &Node, other: &Node) -> bool {
    match (one, other) {
        (Node::File(one), Node::File(other)) => one.hash == other.hash,
        (Node::Symlink { target: one }, Node::Symlink { target: other }) => one == other,
        (Node::Directory { .. }, Node::Directory { .. }) => true,
        _ => false,
    }
}

fn same_mode(one: &Node, other: &Node) -> bool {
    let (one, other) = (NodeInfo::from(one), NodeInfo::from(other));
    one.kind == other.kind && one.mode == other.mode
}

impl Walk<'_> {
    /// Goes on to the next name of the innermost folder, or out of it.
    fn step(&mut self) -> Result<()> {
        let Some(level) = self.stack.last_mut() else {
            return Ok(());
        };
        self.path.truncate(level.path);
        let Some((now, wanted)) = level.next() else {
            return self.close();
        };
        let trees = (Rc::clone(&level.now), Rc::clone(&level.wanted));
        let now = now.map(|at| &trees.0.entries[at]);
        let wanted = wanted.map(|at| &trees.1.entries[at]);
        if let Some(entry) = now.or(wanted) {
            self.enter(&entry.name);
        }
        match (now.map(|one| &one.node), wanted.map(|one| &one.node)) {
            (Some(now), Some(wanted)) => self.both(now, wanted),
            (Some(now), None) => self.only_now(now),
            (None, Some(wanted)) => self.only_wanted(wanted),
            (None, None) => Ok(()),
        }
    }

    fn enter(&mut self, name: &[u8]) {
        if !self.path.is_empty() {
            self.path.push(b'/');
        }
        self.path.extend_from_slice(name);
    }

    /// Ends a folder: only now is it known whether all of it goes.
    fn close(&mut self) -> Result<()> {
        let Some(level) = self.stack.pop() else {
            return Ok(());
        };
        self.pending -= usize::from(level.pending.is_some());
        let Some(mut plan) = level.end else {
            return Ok(());
        };
        if level.stays {
            plan.action = Action::Keep(KeepReason::NotEmpty);
            self.stay();
        }
        self.hand(plan)
    }

    /// The path is in the checkpoint only.
    fn only_wanted(&mut self, wanted: &Node) -> Result<()> {
        let keep = match wanted {
            Node::Withheld { .. } => Some(KeepReason::Secret),
            Node::Skipped { reason, .. } => Some(KeepReason::NotStored(*reason)),
            _ => None,
        };
        let selected = self.selected();
        if let Some(reason) = keep {
            return self.hand_if(selected, None, Some(wanted), Action::Keep(reason));
        }
        if !selected && folder(Some(wanted)).is_none() {
            return Ok(());
        }
        if !self.is_free()? {
            return self.refuse(None, wanted, ConflictReason::CaseCollision);
        }
        let plan = self.plan(None, Some(wanted), Action::Create);
        let Some(tree) = folder(Some(wanted)) else {
            return self.hand(plan);
        };
        let mut level = self.inner(None, Some(tree))?;
        if selected {
            self.hand(plan)?;
        } else {
            level.pending = Some(plan);
            self.pending += 1;
        }
        self.stack.push(level);
        Ok(())
    }

    /// The path is on the disk only.
    fn only_now(&mut self, now: &Node) -> Result<()> {
        let selected = self.selected();
        let is_folder = folder(Some(now)).is_some();
        let keep = match now {
            Node::Withheld { .. } => Some(KeepReason::Secret),
            Node::Skipped { reason, .. } => Some(KeepReason::NotStored(*reason)),
            // Nobody asks whose it is.
            _ if !selected && !is_folder => {
                self.stay();
                return Ok(());
            }
            _ => Claim::foreign(self.claim()?, is_folder),
        };
        if let Some(reason) = keep {
            self.stay();
            return self.hand_if(selected, Some(now), None, Action::Keep(reason));
        }
        if self.is_seen_twice() {
            self.stay();
            let action = Action::Conflict(ConflictReason::CaseCollision);
            return self.hand_if(selected, Some(now), None, action);
        }
        if let Some(tree) = folder(Some(now)) {
            let mut level = self.inner(Some(tree), None)?;
            if selected {
                level.end = Some(self.plan(Some(now), None, Action::Delete));
            } else {
                self.stay();
            }
            self.stack.push(level);
            return Ok(());
        }
        let action = self.decide(now, None);
        if action != Action::Delete {
            self.stay();
        }
        self.hand_if(true, Some(now), None, action)
    }

    /// The path is on both sides.
    fn both(&mut self, now: &Node, wanted: &Node) -> Result<()> {
        let differs = Differs::of(&NodeInfo::from(now), &NodeInfo::from(wanted));
        let folders = folder(Some(now)).zip(folder(Some(wanted)));
        let inside = folders.is_some_and(|(now, wanted)| now != wanted);
        if !inside && (!differs.any() || differs.only_time()) {
            return Ok(());
        }
        let keep = match (now, wanted) {
            (_, Node::Withheld { .. }) => Some(KeepReason::Secret),
            (_, Node::Skipped { reason, .. }) => Some(KeepReason::NotStored(*reason)),
            (Node::Withheld { hash, .. }, Node::File(file)) if *hash == file.hash => {
                Some(KeepReason::Secret)
            }
            _ => None,
        };
        if let Some(reason) = keep {
            let action = Action::Keep(reason);
            return self.hand_if(self.selected(), Some(now), Some(wanted), action);
        }
        let unsaved = match now {
            Node::Skipped {
                reason: SkipReason::NotRegular,
                ..
            } => Some(ConflictReason::InTheWay),
            Node::Skipped { .. } | Node::Withheld { .. } => Some(ConflictReason::CanNotBeSaved),
            _ => None,
        };
        if let Some(reason) = unsaved {
            return self.refuse(Some(now), wanted, reason);
        }
        if self.collides() {
            return self.refuse(Some(now), wanted, ConflictReason::CaseCollision);
        }
        match (folder(Some(now)), folder(Some(wanted))) {
            (Some(one), Some(other)) => {
                if differs.mode && self.selected() {
                    let action = self.decide_mode(now);
                    self.hand_if(true, Some(now), Some(wanted), action)?;
                }
                if inside {
                    let level = self.inner(Some(one), Some(other))?;
                    self.stack.push(level);
                }
                Ok(())
            }
            (Some(tree), None) => self.folder_gives_way(now, tree, wanted),
            (None, inside) => {
                if !self.selected() {
                    // Nothing can be made in what is left alone.
                    return match inside {
                        Some(_) => self.refuse(Some(now), wanted, ConflictReason::InTheWay),
                        None => Ok(()),
                    };
                }
                let action = if differs.kind || differs.content || differs.target {
                    self.decide(now, Some(wanted))
                } else {
                    self.decide_mode(now)
                };
                let made = matches!(action, Action::Replace | Action::KeepBoth { .. });
                self.hand_if(true, Some(now), Some(wanted), action)?;
                if let Some(tree) = inside.filter(|_| made) {
                    let level = self.inner(None, Some(tree))?;
                    self.stack.push(level);
                }
                Ok(())
            }
        }
    }

    /// A folder is on the disk, where the checkpoint has a file or a link.
    fn folder_gives_way(&mut self, now: &Node, tree: &ObjectId, wanted: &Node) -> Result<()> {
        if !self.selected() {
            let level = self.inner(Some(tree), None)?;
            self.stack.push(level);
            return Ok(());
        }
        let action = if !self.all_goes(tree)? {
            Action::Conflict(ConflictReason::InTheWay)
        } else if self.any_base(|base| same_content(base, now)) {
            Action::Replace
        } else {
            match self.sides.on_conflict {
                OnConflict::Refuse | OnConflict::Merge => Action::Conflict(ConflictReason::Changed),
                // Nothing in it is anybody's but the run's: there is nothing to keep.
                OnConflict::Overwrite | OnConflict::KeepBoth => Action::Replace,
            }
        };
        if action != Action::Replace {
            return self.hand_if(true, Some(now), Some(wanted), action);
        }
        let mut level = self.inner(Some(tree), None)?;
        level.end = Some(self.plan(Some(now), Some(wanted), action));
        self.stack.push(level);
        Ok(())
    }

    /// What happens to a file or a link on the disk that the checkpoint has otherwise, or not.
    fn decide(&mut self, now: &Node, wanted: Option<&Node>) -> Action {
        let gone = match wanted {
            Some(_) => Action::Replace,
            None => Action::Delete,
        };
        if self.any_base(|base| same_content(base, now)) {
            return gone;
        }
        match self.sides.on_conflict {
            OnConflict::Overwrite => gone,
            OnConflict::KeepBoth => Action::KeepBoth {
                beside: self.beside(),
            },
            OnConflict::Merge => match (now, wanted, self.newest_base()) {
                (Node::File(_), Some(Node::File(_)), Some(Node::File(_))) => Action::Merge,
                _ => Action::Conflict(ConflictReason::Changed),
            },
            OnConflict::Refuse => Action::Conflict(ConflictReason::Changed),
        }
    }

    /// What happens to something that differs in its permission bits only.
    fn decide_mode(&self, now: &Node) -> Action {
        let refuse = self.sides.on_conflict == OnConflict::Refuse;
        if refuse && !self.any_base(|base| same_mode(base, now)) {
            return Action::Conflict(ConflictReason::Changed);
        }
        Action::SetMode
    }

    /// A conflict at this path, or, where it is a folder, for whatever is selected in it. Nothing of
    /// it is handed out then.
    fn refuse(&mut self, now: Option<&Node>, wanted: &Node, reason: ConflictReason) -> Result<()> {
        let concerned = match folder(Some(wanted)) {
            _ if self.selected() => true,
            Some(tree) => self.any_selected(tree)?,
            None => false,
        };
        self.hand_if(concerned, now, Some(wanted), Action::Conflict(reason))
    }

    /// Whether anything that would be made in a folder of the checkpoint is selected.
    fn any_selected(&self, tree: &ObjectId) -> Result<bool> {
        let mut stack = vec![(self.path.clone(), *tree)];
        while let Some((path, tree)) = stack.pop() {
            for entry in &self.folders.get(Some(&tree))?.entries {
                let path = [&path, &b"/"[..], &entry.name].concat();
                let made = match entry.node {
                    Node::Withheld { .. } | Node::Skipped { .. } => false,
                    _ => (self.options.selected)(&path),
                };
                if made {
                    return Ok(true);
                }
                if let Node::Directory { tree, .. } = entry.node {
                    stack.push((path, tree));
                }
            }
        }
        Ok(false)
    }

    /// Tries out whether everything in the folder at this path goes.
    fn all_goes(&mut self, tree: &ObjectId) -> Result<bool> {
        let level = self.inner(Some(tree), None)?;
        self.try_out(|walk| {
            walk.stack.push(level);
            Ok(())
        })
    }

    /// Tries out whether something else in the same folder goes.
    fn goes(&mut self, name: &[u8], node: &Node) -> Result<bool> {
        let names_at = self.stack.last().map_or(0, Level::names_at);
        let own = self.path.split_off(names_at);
        self.path.extend_from_slice(name);
        let goes = self.try_out(|walk| walk.only_now(node));
        self.path.truncate(names_at);
        self.path.extend_from_slice(&own);
        goes
    }

    /// Does what only looks at things that are on the disk only, and says whether all of them go.
    fn try_out(&mut self, begin: impl FnOnce(&mut Self) -> Result<()>) -> Result<bool> {
        let depth = self.stack.len();
        let path = self.path.clone();
        let stays = self.stack.last().is_some_and(|level| level.stays);
        self.set_stays(depth, false);
        self.trial = true;
        begin(self)?;
        // What stays anywhere in it keeps all folders around it.
        while self.stack.len() > depth && !self.stack[depth..].iter().any(|level| level.stays) {
            self.step()?;
        }
        self.trial = false;
        let outside = depth.saturating_sub(1);
        let goes = !self.stack[outside..].iter().any(|level| level.stays);
        self.stack.truncate(depth);
        self.set_stays(depth, stays);
        self.path = path;
        Ok(goes)
    }

    fn set_stays(&mut self, depth: usize, stays: bool) {
        if let Some(level) = depth.checked_sub(1).and_then(|at| self.stack.get_mut(at)) {
            level.stays = stays;
        }
    }

    /// Notes that something in the innermost folder stays.
    fn stay(&mut self) {
        self.set_stays(self.stack.len(), true);
    }

    fn selected(&self) -> bool {
        (self.options.selected)(&self.path)
    }

    /// The name of the current path.
    fn name(&self) -> &[u8] {
        let names_at = self.stack.last().map_or(0, Level::names_at);
        &self.path[names_at..]
    }

    fn any_base(&self, fits: impl Fn(&Node) -> bool) -> bool {
        let bases = self.stack.last().map(|level| level.bases.as_slice());
        let nodes = bases.unwrap_or_default().iter();
        nodes.filter_map(|base| base.get(self.name())).any(fits)
    }

    fn newest_base(&self) -> Option<&Node> {
        self.stack.last()?.bases.first()?.get(self.name())
    }

    /// Whether the checkpoint has another path that the file system takes for this one.
    fn collides(&self) -> bool {
        let level = self.stack.last();
        level.is_some_and(|level| level.collides(self.name()))
    }

    /// Whether what is on the disk here was found under two names, and the checkpoint has the other:
    /// who deletes one deletes both.
    fn is_seen_twice(&self) -> bool {
        self.stack.last().is_some_and(|level| {
            let mut twins = level.twins(self.name());
            twins.any(|twin| level.now.get(twin).is_some() && level.wanted.get(twin).is_some())
        })
    }

    /// Whether the name can be made: nothing that the file system takes for it stays.
    fn is_free(&mut self) -> Result<bool> {
        if self.collides() {
            return Ok(false);
        }
        let Some(level) = self.stack.last() else {
            return Ok(true);
        };
        let now = Rc::clone(&level.now);
        let twins: Vec<Vec<u8>> = level.twins(self.name()).map(<[u8]>::to_vec).collect();
        for twin in twins {
            if let Some(node) = now.get(&twin)
                && !self.goes(&twin, node)?
            {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// A name for what is renamed aside.
    fn beside(&mut self) -> Vec<u8> {
        let Some(level) = self.stack.last() else {
            return Vec::new();
        };
        let taken = |name: &[u8]| {
            level.now.get(name).is_some()
                || level.wanted.get(name).is_some()
                || level.besides.contains(&fold(name))
                || level.twins(name).next().is_some()
        };
        let name = beside(self.name(), self.options.beside_suffix, &taken);
        let folded = fold(&name);
        let path = [&self.path[..level.names_at()], &name].concat();
        if !self.trial
            && let Some(level) = self.stack.last_mut()
        {
            level.besides.insert(folded);
        }
        path
    }

    /// What the run's checkpoints have captured at the current path.
    fn claim(&mut self) -> Result<Option<&Claim>> {
        let known = self.stack.iter().rposition(|level| level.claims.is_some());
        for at in known.map_or(0, |known| known + 1)..self.stack.len() {
            let level = &self.stack[at];
            let of_interest = level.now.entries.iter();
            let names: Vec<&[u8]> = of_interest
                .filter(|entry| level.wanted.get(&entry.name) != Some(&entry.node))
                .map(|entry| entry.name.as_slice())
                .collect();
            let claims = match at.checked_sub(1).map(|outer| &self.stack[outer]) {
                None => {
                    let captured: BTreeSet<&ObjectId> = self.sides.captured.iter().collect();
                    Claims::read(&self.folders, captured, &names)?
                }
                Some(outer) => {
                    let name = &self.path[outer.names_at()..level.path];
                    let claim = outer.claims.as_ref().and_then(|claims| claims.get(name));
                    let captured = claim.into_iter().flat_map(|claim| &claim.folders);
                    Claims::read(&self.folders, captured, &names)?
                }
            };
            self.stack[at].claims = Some(claims);
        }
        let level = self.stack.last();
        let claims = level.and_then(|level| level.claims.as_ref());
        Ok(claims.and_then(|claims| claims.get(self.name())))
    }

    /// Opens the folder at the current path.
    fn inner(&self, now: Option<&ObjectId>, wanted: Option<&ObjectId>) -> Result<Level> {
        let bases = self.stack.last().map(|level| level.bases.as_slice());
        let bases = bases.unwrap_or_default().iter();
        let bases = bases.map(|base| self.folders.get(folder(base.get(self.name()))));
        self.level(now, wanted, bases.collect::<Result<_>>()?)
    }

    fn level(
        &self,
        now: Option<&ObjectId>,
        wanted: Option<&ObjectId>,
        bases: Vec<Rc<Tree>>,
    ) -> Result<Level> {
        let (now, wanted) = (self.folders.get(now)?, self.folders.get(wanted)?);
        let mut folded: HashMap<_, Vec<_>> = HashMap::new();
        if self.options.case_folding {
            for entry in now.entries.iter().chain(&wanted.entries) {
                let names = folded.entry(fold(&entry.name)).or_default();
                if !names.contains(&entry.name) {
                    names.push(entry.name.clone());
                }
            }
        }
        Ok(Level {
            path: self.path.len(),
            now,
            wanted,
            now_at: 0,
            wanted_at: 0,
            bases,
            claims: None,
            stays: false,
            end: None,
            pending: None,
            folded,
            besides: BTreeSet::new(),
        })
    }

    fn plan(&self, now: Option<&Node>, wanted: Option<&Node>, action: Action) -> PathPlan {
        let (before, after) = (now.map(NodeInfo::from), wanted.map(NodeInfo::from));
        let differs = before.as_ref().zip(after.as_ref());
        PathPlan {
            path: self.path.clone(),
            action,
            differs: differs.map_or_else(Differs::default, |(before, after)| {
                Differs::of(before, after)
            }),
            before,
            after,
            base: self.newest_base().map(NodeInfo::from),
        }
    }

    fn hand_if(
        &mut self,
        selected: bool,
        now: Option<&Node>,
        wanted: Option<&Node>,
        action: Action,
    ) -> Result<()> {
        if !selected || self.trial {
            return Ok(());
        }
        self.hand(self.plan(now, wanted, action))
    }

    /// Hands out a path, after the folders that are made only because of it.
    fn hand(&mut self, plan: PathPlan) -> Result<()> {
        if self.trial {
            return Ok(());
        }
        if self.pending > 0 && !matches!(plan.action, Action::Keep(_)) {
            self.pending = 0;
            for level in &mut self.stack {
                if let Some(folder) = level.pending.take() {
                    self.totals.add(&folder);
                    (self.take)(folder)?;
                }
            }
        }
        self.totals.add(&plan);
        (self.take)(plan)
    }
}
