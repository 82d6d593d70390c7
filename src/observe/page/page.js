
// ---- the stream

let state = null;
let heard = 0;
let source = null;

const change = (by) => {
  Object.assign(view, by);
  if (state) partitions(state);
};
// A stream ends each minute and is opened again by the browser; one that was refused, by us.
const listen = () => {
  if (source) source.close();
  source = new EventSource('events');
  source.onmessage = (event) => {
    state = JSON.parse(event.data);
    heard = Date.now();
    set(byId('link'), 'live');
    show(state);
  };
  source.onerror = () => {
    if (source.readyState === EventSource.CLOSED && !document.hidden) setTimeout(listen, 5000);
  };
};
// Nothing is fetched for a page that nobody looks at.
document.addEventListener('visibilitychange', () => {
  if (!document.hidden) listen();
  else if (source) source.close();
});
setInterval(() => {
  const silent = Math.round((Date.now() - heard) / 1000);
  if (heard && silent > 8) set(byId('link'), `no word for ${silent} s: what stands here is old`);
}, 2000);
let resized = 0;
addEventListener('resize', () => {
  cancelAnimationFrame(resized);
  resized = requestAnimationFrame(() => state && show(state));
});

// Resumes partitions with the token, which is kept nowhere.
byId('resume').querySelector('form')?.addEventListener('submit', async (event) => {
  event.preventDefault();
  const { token, partition } = event.target.elements;
  const query = partition.value ? `?partition=${encodeURIComponent(partition.value)}` : '';
  set(byId('resumed'), 'asked');
  try {
    const answer = await fetch(`resume${query}`, { method: 'POST', headers: { authorization: `Bearer ${token.value}` } });
    set(byId('resumed'), (await answer.text()).trim() || `answered ${answer.status}`);
    if (answer.ok) token.value = '';
  } catch (error) {
    set(byId('resumed'), `not asked: ${error.message}`);
  }
});

document.documentElement.classList.add('js');
sortable();
listen();
