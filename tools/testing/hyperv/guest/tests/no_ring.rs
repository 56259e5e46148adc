// SPDX-License-Identifier: GPL-2.0
//! The modules of the guest program, of the runner and of each driver use one another in one direction: no two of them
//! use each other, directly or by way of others.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use syn::visit::{self, Visit};
use syn::{Attribute, ExprMethodCall, FnArg, ImplItem, ItemImpl, ItemMod, ItemUse, UseTree};

/// A module's path below its crate, `["checks", "ats"]`; empty for the root.
type Name = Vec<String>;

/// The modules that each module uses.
type Uses = BTreeMap<Name, BTreeSet<Name>>;

/// The names of files that are the root of a crate, or the module of a directory.
const ROOTS: [&str; 6] = ["mod", "lib", "main", "hv_pviommu", "hv_root_iommu", "virtio_iommu_rust"];

/// Every source file of the crate in a directory. A directory below with a Makefile of its own is another crate.
fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let own = entries.filter(|path| !path.join("Makefile").exists());
    let all = own.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] });
    // Pages have their style beside the sources.
    all.filter(|path| path.extension().is_some_and(|extension| extension == "rs")).collect()
}

/// The module that a file is.
fn name(root: &Path, file: &Path) -> Name {
    let path = file.strip_prefix(root).unwrap().with_extension("");
    let mut name: Name = path.iter().map(|part| part.to_str().unwrap().to_owned()).collect();
    // A directory's module has its name from the directory; the driver's root is named after the driver.
    if name.last().is_some_and(|last| ROOTS.contains(&last.as_str())) {
        name.pop();
    }
    // A file that takes another one's place.
    if let Some(last) = name.last_mut() {
        *last = last.trim_end_matches("_off").to_owned();
    }
    name
}

/// Collects what a file uses, without its tests.
struct Visitor<'a> {
    own: &'a Name,
    modules: &'a BTreeSet<Name>,
    /// How many modules are open inside of the file.
    inner: usize,
    uses: BTreeSet<Name>,
    /// The methods that the file gives to types, and those that it calls.
    defined: BTreeSet<String>,
    called: BTreeSet<String>,
}

impl Visitor<'_> {
    /// Takes a path as it is written.
    fn take(&mut self, path: &[String]) {
        let mut base = match path.first().map(String::as_str) {
            Some("crate") => Vec::new(),
            Some("self" | "super") => self.own.clone(),
            // One that starts with a module of this one's.
            Some(first) if self.modules.contains(&[self.own.as_slice(), &[first.to_owned()]].concat()) => {
                self.own.clone()
            }
            _ => return,
        };
        let supers = path.iter().filter(|part| *part == "super").count();
        for _ in 0..supers.saturating_sub(self.inner) {
            base.pop();
        }
        base.extend(path.iter().filter(|part| !matches!(part.as_str(), "crate" | "self" | "super")).cloned());
        while !self.modules.contains(&base) {
            base.pop();
        }
        if base != *self.own {
            self.uses.insert(base);
        }
    }

    fn take_tree(&mut self, mut path: Vec<String>, tree: &UseTree) {
        match tree {
            UseTree::Path(part) => {
                path.push(part.ident.to_string());
                self.take_tree(path, &part.tree);
            }
            UseTree::Name(last) => {
                path.push(last.ident.to_string());
                self.take(&path);
            }
            UseTree::Rename(last) => {
                path.push(last.ident.to_string());
                self.take(&path);
            }
            UseTree::Glob(_) => self.take(&path),
            UseTree::Group(group) => group.items.iter().for_each(|tree| self.take_tree(path.clone(), tree)),
        }
    }
}

fn is_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg") && attribute.parse_args::<syn::Path>().is_ok_and(|path| path.is_ident("test"))
    })
}

impl<'ast> Visit<'ast> for Visitor<'_> {
    fn visit_item_mod(&mut self, module: &'ast ItemMod) {
        if !is_for_tests(&module.attrs) {
            self.inner += 1;
            visit::visit_item_mod(self, module);
            self.inner -= 1;
        }
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        self.take_tree(Vec::new(), &item.tree);
    }

    fn visit_item_impl(&mut self, item: &'ast ItemImpl) {
        if item.trait_.is_none() {
            let methods = item.items.iter().filter_map(|item| match item {
                ImplItem::Fn(item) if matches!(item.sig.inputs.first(), Some(FnArg::Receiver(_))) => {
                    Some(&item.sig.ident)
                }
                _ => None,
            });
            self.defined.extend(methods.map(ToString::to_string));
        }
        visit::visit_item_impl(self, item);
    }

    fn visit_expr_method_call(&mut self, call: &'ast ExprMethodCall) {
        self.called.insert(call.method.to_string());
        visit::visit_expr_method_call(self, call);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let parts: Vec<String> = path.segments.iter().map(|part| part.ident.to_string()).collect();
        // A visibility is written as a path, too.
        if !matches!(parts.as_slice(), [one] if matches!(one.as_str(), "crate" | "self" | "super")) {
            self.take(&parts);
        }
        visit::visit_path(self, path);
    }
}

/// What of a module is looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Look {
    /// The paths that it names.
    Paths,
    /// The methods, too, that it calls on a type which has them from one other module alone. A method that the standard
    /// library or the kernel has under the same name is left out.
    Methods,
}

/// Methods of the drivers that types from elsewhere have as well.
const COMMON: [&str; 13] =
    ["add", "each", "enter", "find", "finish", "ids", "is_empty", "map", "new", "push", "reserve", "start", "take"];

/// What the driver of the root partition takes from that of guests: files that use no other one.
const SHARED: [&str; 3] = ["blocks", "readings", "simple_calls"];

fn uses(root: &Path, look: Look) -> Uses {
    let files = files(root);
    let taken = if root.ends_with("root") { &SHARED[..] } else { &[] };
    let shared = taken.iter().map(|file| vec![(*file).to_owned()]);
    let modules: BTreeSet<Name> = files.iter().map(|file| name(root, file)).chain(shared.clone()).collect();
    let mut uses: Uses = shared.map(|name| (name, BTreeSet::new())).collect();
    let (mut homes, mut calls) = (BTreeMap::<String, BTreeSet<Name>>::new(), Vec::new());
    for file in &files {
        let own = name(root, file);
        let text = fs::read_to_string(file).unwrap();
        let mut visitor = Visitor {
            own: &own,
            modules: &modules,
            inner: 0,
            uses: BTreeSet::new(),
            defined: BTreeSet::new(),
            called: BTreeSet::new(),
        };
        visitor.visit_file(&syn::parse_file(&text).unwrap());
        let Visitor { uses: found, defined, called, .. } = visitor;
        for method in defined {
            homes.entry(method).or_default().insert(own.clone());
        }
        calls.push((own.clone(), called));
        uses.entry(own).or_default().extend(found);
    }
    if look == Look::Methods {
        for (own, called) in calls {
            let homes =
                called.iter().filter(|method| !COMMON.contains(&method.as_str())).filter_map(|it| homes.get(it));
            let others = homes.filter(|homes| homes.len() == 1).flatten().filter(|home| **home != own);
            uses.get_mut(&own).unwrap().extend(others.cloned());
        }
    }
    uses
}

/// The same of rooms: a room is a directory, or a file outside of all.
fn rooms(uses: &Uses) -> Uses {
    let room = |name: &Name| name.iter().take(1).cloned().collect::<Name>();
    let mut rooms = Uses::new();
    for (name, used) in uses {
        let own = room(name);
        let others = used.iter().map(room).filter(|other| *other != own).collect::<BTreeSet<_>>();
        rooms.entry(own).or_default().extend(others);
    }
    rooms
}

/// A ring, if there is one: modules of which each uses the next one, and the last one the first.
fn ring(uses: &Uses) -> Option<Vec<String>> {
    /// Leaves the modules of a way back to `module` in `way`.
    fn search(uses: &Uses, module: &Name, way: &mut Vec<Name>, done: &mut BTreeSet<Name>) -> bool {
        if let Some(start) = way.iter().position(|earlier| earlier == module) {
            way.drain(..start);
            return true;
        }
        if done.contains(module) {
            return false;
        }
        way.push(module.clone());
        if uses[module].iter().any(|next| search(uses, next, way, done)) {
            return true;
        }
        way.pop();
        done.insert(module.clone());
        false
    }
    let mut done = BTreeSet::new();
    uses.keys().find_map(|module| {
        let mut way = Vec::new();
        search(uses, module, &mut way, &mut done).then(|| way.iter().map(|name| name.join("::")).collect())
    })
}

/// The directory of a driver.
fn driver(directory: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../../drivers/iommu").join(directory)
}

/// The modules or rooms that the list in a driver's root has, in the order of the list. Their names stand before the
/// first colon of an item.
fn listed(root: &Path) -> Vec<String> {
    let text = fs::read_to_string(root).unwrap();
    let items = text.lines().filter_map(|line| line.strip_prefix("//! - ")?.split_once(": "));
    items.flat_map(|(names, _)| names.split('`').skip(1).step_by(2)).map(ToOwned::to_owned).collect()
}

#[test]
fn modules_form_no_ring() {
    for directory in ["src", "../runner/src"] {
        let uses = uses(&Path::new(env!("CARGO_MANIFEST_DIR")).join(directory), Look::Paths);
        assert!(uses.len() > 50, "{directory} has {} modules", uses.len());
        assert_eq!(ring(&uses), None, "{directory}");
    }
}

#[test]
fn files_of_the_drivers_form_no_ring() {
    for (directory, least) in [("hyperv", 25), ("hyperv/root", 20), ("virtio_iommu_rust", 12)] {
        let uses = uses(&driver(directory), Look::Methods);
        assert!(uses.len() > least, "{directory} has {} modules", uses.len());
        assert_eq!(ring(&uses), None, "{directory}");
        assert_eq!(ring(&rooms(&uses)), None, "rooms of {directory}");
    }
}

/// The roots of these drivers say that a module uses only what their list has before it.
#[test]
fn lists_of_modules_are_in_the_order_of_use() {
    for (directory, root) in [("hyperv", "hv_pviommu.rs"), ("virtio_iommu_rust", "virtio_iommu_rust.rs")] {
        let driver = driver(directory);
        let listed = listed(&driver.join(root));
        let place = |room: &Name| {
            let name = room.concat();
            listed.iter().position(|it| *it == name).unwrap_or_else(|| panic!("{root} does not list `{name}`"))
        };
        for (room, used) in rooms(&uses(&driver, Look::Methods)) {
            // The root itself is in no list.
            for other in used.iter().filter(|_| !room.is_empty()) {
                assert!(place(other) < place(&room), "{directory}: {} uses {}", room.concat(), other.concat());
            }
        }
    }
}

/// Both drivers are built from these files: what they used of one driver the other would not have.
#[test]
fn shared_files_use_no_other_one() {
    let uses = uses(&driver("hyperv"), Look::Paths);
    for file in SHARED {
        assert_eq!(uses[&vec!["host".to_owned(), file.to_owned()]], BTreeSet::new(), "{file}");
    }
}

#[test]
fn a_ring_is_found() {
    let name = |text: &str| vec![text.to_owned()];
    let mut uses = Uses::from([
        (name("a"), BTreeSet::from([name("b"), name("c")])),
        (name("b"), BTreeSet::from([name("c")])),
        (name("c"), BTreeSet::new()),
    ]);
    assert_eq!(ring(&uses), None);
    uses.insert(name("c"), BTreeSet::from([name("b")]));
    assert_eq!(ring(&uses), Some(vec!["b".to_owned(), "c".to_owned()]));
}
