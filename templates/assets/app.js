// What pages do more with JavaScript than without. Everything here is an
// addition: no page needs it.
(function () {
  'use strict'

  // The reader's time zone is sent once, when no cookie says it yet.
  var wanted = document.body.dataset.zoneWanted
  if (wanted !== undefined) {
    var zone = Intl.DateTimeFormat().resolvedOptions().timeZone
    if (zone && sessionStorage.getItem('zone') !== zone) {
      sessionStorage.setItem('zone', zone) // once, also where cookies are refused
      fetch(document.body.dataset.base + '/preferences', {
        method: 'POST', redirect: 'manual', credentials: 'same-origin',
        body: new URLSearchParams({ zone: zone })
      }).then(function () {
        if (zone !== wanted) location.reload()
      })
    }
  }

  // A page that nobody sees has no stream: browsers allow few connections to
  // one server, and the server has less to do.
  function Stream (url) {
    var self = this
    this.listeners = []
    this.readyState = EventSource.CONNECTING
    this.open = function () {
      self.source = new EventSource(url)
      self.source.onopen = function (e) { self.readyState = EventSource.OPEN; say('live'); if (self.onopen) self.onopen(e) }
      self.source.onerror = function (e) { self.readyState = self.source.readyState; say('stale'); if (self.onerror) self.onerror(e) }
      self.listeners.forEach(function (l) { self.source.addEventListener(l[0], l[1]) })
    }
    this.seen = function () {
      if (document.hidden) { self.source.close() } else { self.open() }
    }
    document.addEventListener('visibilitychange', this.seen)
    this.open()
    if (document.hidden) this.source.close()
  }
  Stream.prototype.addEventListener = function (name, listener) {
    this.listeners.push([name, listener])
    this.source.addEventListener(name, listener)
  }
  Stream.prototype.removeEventListener = function (name, listener) {
    this.listeners = this.listeners.filter(function (l) { return l[0] !== name || l[1] !== listener })
    this.source.removeEventListener(name, listener)
  }
  Stream.prototype.close = function () {
    document.removeEventListener('visibilitychange', this.seen)
    this.readyState = EventSource.CLOSED
    this.source.close()
  }
  htmx.createEventSource = function (url) { return new Stream(url) }

  // Whether what is on the page is live.
  function say (state) {
    var at = document.getElementById('stream-state')
    at.hidden = false
    if (at.textContent !== state) at.textContent = state
    at.className = 'stream is-' + state
  }

  // Tables that the reader opened stay open when their part is sent anew.
  var open = []
  document.body.addEventListener('htmx:beforeSwap', remember)
  document.body.addEventListener('htmx:sseBeforeMessage', remember)
  document.body.addEventListener('htmx:sseMessage', reopen)
  document.body.addEventListener('htmx:afterSwap', reopen)
  function remember (e) {
    open = Array.from(e.target.querySelectorAll('details[open][id]'), function (d) { return d.id })
  }
  function reopen (e) {
    open.forEach(function (id) {
      var d = document.getElementById(id)
      if (d) d.open = true
    })
  }

  // A file may be dropped anywhere on its field, and how much of it has
  // arrived is shown.
  document.addEventListener('submit', function (e) {
    var form = e.target
    if (!form.matches('form[data-upload]') || !window.FormData) return
    e.preventDefault()
    var bar = form.querySelector('progress')
    var words = form.querySelector('[data-words]')
    var button = form.querySelector('button')
    var request = new XMLHttpRequest()
    button.disabled = true
    bar.hidden = false
    request.upload.addEventListener('progress', function (p) {
      if (!p.lengthComputable) return
      bar.max = p.total
      bar.value = p.loaded
      words.textContent = p.loaded < p.total ? Math.floor(p.loaded / p.total * 100) + ' % sent' : 'Sent; it is being checked.'
    })
    request.addEventListener('load', function () {
      if (request.status === 200 && request.getResponseHeader('Tidegate-Location')) {
        location.assign(request.getResponseHeader('Tidegate-Location'))
        return
      }
      failed(new DOMParser().parseFromString(request.responseText, 'text/html').querySelector('main .what'))
    })
    request.addEventListener('error', function () { failed(null) })
    function failed (why) {
      bar.hidden = true
      button.disabled = false
      words.textContent = why ? why.textContent : 'The upload was broken off. Is the gateway there?'
    }
    request.open('POST', form.action)
    request.setRequestHeader('Tidegate-Upload', 'script')
    request.send(new FormData(form))
  })
})()
