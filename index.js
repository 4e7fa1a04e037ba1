module.exports = require('./lib/checkpoint-manager.js');
