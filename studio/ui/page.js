// Keyboard, the finished clip's start, and finding the job again when the connection comes back.
(() => {
  const seen = (selector) => [...document.querySelectorAll(selector)].find((e) => e.offsetParent !== null && !e.disabled)
  const quiet = window.matchMedia('(prefers-reduced-motion: reduce)')

  document.addEventListener('keydown', (event) => {
    if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) {
      const run = seen('button.run')
      if (run) { event.preventDefault(); run.click() }
    } else if (event.key === 'Escape' && !event.defaultPrevented) {
      const busy = event.target.closest?.('input, textarea, select, [role=listbox], [role=dialog], dialog')
      const cancel = seen('button.cancel')
      if (cancel && !busy && !document.fullscreenElement) cancel.click()
    }
  })

  // Where the columns are stacked, the result is out of sight when its button is pressed.
  document.addEventListener('click', (event) => {
    if (!event.target.closest?.('button.run') || window.innerWidth >= 900) return
    setTimeout(() => {
      if (!seen('.wrong')) seen('.answers')?.scrollIntoView({ behavior: quiet.matches ? 'auto' : 'smooth' })
    }, 800)
  })

  // A turntable: one view shows, the others lie under it; a drag across its width goes once round.
  const turn = (table, index) => {
    const views = [...table.querySelectorAll('img')]
    const now = ((index % views.length) + views.length) % views.length
    views.forEach((view, i) => { view.hidden = i !== now })
    table.setAttribute('aria-valuenow', now)
  }
  const shownIn = (table) => Number(table.getAttribute('aria-valuenow'))
  let drag = null
  document.addEventListener('pointerdown', (event) => {
    const table = event.target.closest?.('.turntable')
    if (table) drag = { table, x: event.clientX, from: shownIn(table) }
  })
  document.addEventListener('pointermove', (event) => {
    if (!drag) return
    const views = drag.table.querySelectorAll('img').length
    turn(drag.table, drag.from - Math.round((event.clientX - drag.x) / drag.table.clientWidth * views))
  })
  for (const end of ['pointerup', 'pointercancel']) document.addEventListener(end, () => { drag = null })
  document.addEventListener('keydown', (event) => {
    const table = event.target.closest?.('.turntable')
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key]
    if (table && by) { event.preventDefault(); turn(table, shownIn(table) + by) }
  })

  // Two clips side by side: what is done to one happens to both, at the same share of each, whatever its length.
  const twin = (video) => {
    const pair = video.closest?.('.pair')
    return pair && [...pair.querySelectorAll('video')].find((other) => other !== video)
  }
  for (const what of ['play', 'pause', 'seeked', 'ratechange']) {
    document.addEventListener(what, (event) => {
      const video = event.target
      const other = video.tagName === 'VIDEO' && twin(video)
      if (!other || !video.duration || !other.duration) return
      const longer = other.duration / video.duration
      const there = Math.min(video.currentTime * longer, other.duration)
      const rate = Math.min(16, Math.max(0.0625, video.playbackRate * longer))
      if (Math.abs(other.currentTime - there) > 0.04 * Math.max(1, longer)) other.currentTime = there
      if (Math.abs(other.playbackRate - rate) > 0.01 * rate) other.playbackRate = rate
      if (what === 'play' && other.paused) other.play().catch(() => {})
      if (what === 'pause' && !other.paused && !video.ended) other.pause()
    }, true)
  }

  // A stream that was cut (sleep, no network) does not come back by itself.
  let away = 0
  const resume = () => document.querySelectorAll('button.resume').forEach((b) => b.click())
  document.addEventListener('visibilitychange', () => {
    if (document.hidden) away = Date.now()
    else if (away && Date.now() - away > 5000) resume()
  })
  window.addEventListener('online', () => setTimeout(resume, 500))

  // Gradio redraws what is inside a region, never the region itself.
  const announce = () => document.querySelectorAll('.spoken .html-container').forEach((e) => e.setAttribute('aria-live', 'polite'))
  // Gradio's thumbnails have no name; the file's says what is in the picture.
  const name = () => document.querySelectorAll('[id$="-examples"] button:not([aria-label])').forEach((button) => {
    const file = button.querySelector('img')?.src.split('/').pop().replace(/\.\w+$/, '')
    if (file) button.setAttribute('aria-label', `Example: ${decodeURIComponent(file).replaceAll('-', ' ')}`)
  })
  new MutationObserver(() => { announce(); name() }).observe(document.documentElement, { childList: true, subtree: true })

  window.studioPage = {
    play() {
      if (quiet.matches) return
      const start = (tries) => {
        const video = seen('.clip video')
        if (video && video.readyState >= 1) { if (video.paused) video.play().catch(() => {}) }
        else if (tries > 0) setTimeout(start, 150, tries - 1)
      }
      start(20)
    },
  }
})()
