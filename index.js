const waymark = require('./lib/checkpoint-manager.js');

module.exports = waymark;
module.exports.default = waymark;
