// What a step's process, and the command, begins with. In the published package another file stands in its place, which
// gives what lies in the bundles and can take it from what Node compiled before (scripts/bundle.mjs); here each file of lib
// is loaded by itself.

module.exports = {
  /**
   * From here on what is loaded may come from what Node compiled before.
   * @param {'step' | 'resume'} _kind of process, which says what it will call
   */
  quicken(_kind) {},
  /**
   * A file of the package, as `require` gives it.
   * @param {string} name such as `lib/preload.js`
   */
  load: (name) => require(`../${name}`),
};
