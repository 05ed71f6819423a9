// The Chinese of the console, by its English: a file for each room. A test holds the keys against the pages.

import alerts from './zh-alerts.js';
import config from './zh-config.js';
import deployments from './zh-deployments.js';
import frame from './zh-frame.js';
import mesh from './zh-mesh.js';
import messages from './zh-messages.js';
import metrics from './zh-metrics.js';
import overview from './zh-overview.js';
import services from './zh-services.js';
import traces from './zh-traces.js';

export default { ...frame, ...overview, ...messages, ...config, ...traces, ...services, ...alerts, ...mesh, ...deployments, ...metrics };
