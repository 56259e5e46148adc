// SPDX-License-Identifier: GPL-2.0
//! Attacks: what a hostile device reaches and what not.

automod::dir!(pub "src/checks/attack");
