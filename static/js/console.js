// Loads the behaviours of every page. Each one adds to what already works without it.
import "./menu.js";
import "./theme.js";
import "./elapsed.js";
import "./copy.js";
import "./dismiss.js";
import "./selection.js";
import "./shortcuts.js";
import "./status.js";
import "./keep.js";
import "./print.js";
import "./progress.js";
