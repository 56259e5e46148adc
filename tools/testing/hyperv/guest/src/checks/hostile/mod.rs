// SPDX-License-Identifier: GPL-2.0
//! A hostile host: whatever it answers, every device is translated, blocked, or reported.

automod::dir!(pub "src/checks/hostile");
