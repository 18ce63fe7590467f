// What pages do more with JavaScript than without. Everything here is an
// addition: no page needs it.
(function () {
  'use strict'

  // The reader's time zone is sent once, when no cookie says it yet. The page is
  // loaded again with it, but not under the hands of a reader who has begun.
  var begun = false
  ;['click', 'keydown', 'input', 'drop'].forEach(function (name) {
    document.addEventListener(name, function () { begun = true })
  })
  var wanted = document.body.dataset.zoneWanted
  if (wanted !== undefined) {
    var zone = Intl.DateTimeFormat().resolvedOptions().timeZone
    if (zone && firstTime(zone)) {
      // With the origin: fetch refuses the name and password that the page's own
      // address may have.
      fetch(location.origin + document.body.dataset.base + '/preferences', {
        method: 'POST', redirect: 'manual', credentials: 'same-origin',
        body: new URLSearchParams({ zone: zone })
      }).then(function () {
        if (zone !== wanted && !begun) location.reload()
      })
    }
  }

  // Whether the zone was not sent yet, also where cookies are refused. Where
  // nothing at all may be kept it is not sent: the page would load for ever.
  function firstTime (zone) {
    try {
      if (sessionStorage.getItem('zone') === zone) return false
      sessionStorage.setItem('zone', zone)
      return true
    } catch (e) {
      return false
    }
  }

  // A hidden page has no stream: browsers allow few connections to
  // one server, and the server has less to do.
  function Stream (url) {
    var self = this
    this.listeners = []
    this.readyState = EventSource.CONNECTING
    this.open = function () {
      self.source = new EventSource(url)
      self.source.onopen = function (e) {
        self.readyState = EventSource.OPEN
        say('live')
        if (self.onopen) self.onopen(e)
      }
      self.source.onerror = function (e) {
        self.readyState = self.source.readyState
        say('stale')
        // A source that has given up is replaced by another.
        if (self.readyState === EventSource.CLOSED) document.removeEventListener('visibilitychange', self.seen)
        if (self.onerror) self.onerror(e)
      }
      self.source.addEventListener('away', function (e) { say('stale', e.data) })
      self.source.addEventListener('back', function () { say('live') })
      self.source.addEventListener('gone', function (e) { say('gone', e.data) })
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

  // Whether what is on the page is live, and if not, why.
  function say (state, why) {
    var at = document.getElementById('stream-state')
    at.hidden = false
    at.title = why || ''
    if (at.textContent !== state) at.textContent = state
    at.className = 'stream is-' + state
  }

  // Escape leaves a question as its way back does.
  document.addEventListener('keydown', function (e) {
    var back = document.querySelector('a[data-escape]')
    if (e.key === 'Escape' && back && !e.isComposing) back.click()
  })

  // Rows of a list are selected all at once, and counted.
  var bulk = document.getElementById('bulk')
  var pickAll = bulk && bulk.querySelector('[data-pick-all]')
  if (pickAll) {
    var picks = function () { return Array.from(bulk.querySelectorAll('input[name="batch"]')) }
    var picked = bulk.querySelector('[data-picked]')
    var hint = picked.textContent
    var count = function () {
      var n = picks().filter(function (p) { return p.checked }).length
      var all = n > 0 && n === picks().length
      picked.textContent = n === 0 ? hint : n + ' selected:'
      pickAll.textContent = all ? 'Select none' : 'Select all'
    }
    pickAll.hidden = false
    pickAll.addEventListener('click', function () {
      var all = picks()
      var on = !all.every(function (p) { return p.checked })
      all.forEach(function (p) { p.checked = on })
      count()
    })
    bulk.addEventListener('change', count)
    bulk.addEventListener('htmx:sseMessage', count)
    addEventListener('pageshow', count)
    count()
  }

  // The text of an element is copied: of its parts that are the text, if it has
  // such parts.
  document.querySelectorAll('[data-copy]').forEach(function (button) {
    button.hidden = false
    button.addEventListener('click', function () {
      var from = document.getElementById(button.dataset.copy)
      var parts = from.querySelectorAll('[data-text]')
      var text = Array.from(parts.length ? parts : [from], function (p) { return p.textContent }).join('')
      var says = button.querySelector('[data-says]')
      copy(text).then(function () { return 'Copied' }, function () { return 'Not allowed' }).then(function (done) {
        says.textContent = done
        setTimeout(function () { says.textContent = 'Copy' }, 2000)
      })
    })
  })
  // The clipboard is there for pages over HTTPS and on localhost only; others
  // copy a selection.
  function copy (text) {
    if (navigator.clipboard) return navigator.clipboard.writeText(text)
    var field = document.createElement('textarea')
    field.value = text
    field.className = 'sr'
    document.body.appendChild(field)
    field.select()
    var done = document.execCommand('copy')
    field.remove()
    return done ? Promise.resolve() : Promise.reject(new Error('not allowed'))
  }

  // A file may be dropped anywhere on the page, and how much of it has arrived
  // is shown.
  var form = document.querySelector('form[data-upload]')
  if (!form) return
  var field = form.querySelector('input[type="file"]')
  var words = form.querySelector('[data-words]')
  document.addEventListener('dragover', function (e) {
    if (!Array.from(e.dataTransfer.types).includes('Files')) return
    e.preventDefault()
    field.classList.add('is-over')
  })
  document.addEventListener('dragleave', function (e) {
    if (!e.relatedTarget) field.classList.remove('is-over')
  })
  document.addEventListener('drop', function (e) {
    if (!e.dataTransfer.files.length) return
    e.preventDefault()
    field.classList.remove('is-over')
    field.files = e.dataTransfer.files
    chosen()
  })
  field.addEventListener('change', chosen)
  function chosen () {
    words.textContent = tooLarge() ? form.dataset.tooLarge : ''
  }
  function tooLarge () {
    return Array.from(field.files).some(function (f) { return f.size > Number(form.dataset.max) })
  }

  form.addEventListener('submit', function (e) {
    e.preventDefault()
    if (tooLarge()) return
    var bar = form.querySelector('progress')
    var button = form.querySelector('button')
    var request = new XMLHttpRequest()
    var name = Array.from(crypto.getRandomValues(new Uint8Array(16)), function (b) { return b.toString(16).padStart(2, '0') }).join('')
    var sent = ''
    var seen = ''
    var asked = false
    var asking = setInterval(ask, 1000)
    show('')
    button.disabled = true
    bar.hidden = false
    request.upload.addEventListener('progress', function (p) {
      if (!p.lengthComputable) return
      bar.max = p.total
      bar.value = p.loaded
      sent = p.loaded < p.total ? Math.floor(p.loaded / p.total * 100) + ' % sent' : 'Sent; it is being checked'
      tell()
    })
    function tell () {
      var text = [sent, seen].filter(Boolean).join('. ') + '.'
      if (words.textContent !== text) words.textContent = text
    }
    // Gets the findings in the lines that have arrived. Only the gateway that receives
    // the file has them.
    function ask () {
      if (asked) return
      asked = true
      fetch(location.origin + form.dataset.arriving + '?upload=' + name, { credentials: 'same-origin', redirect: 'manual' }).then(function (answer) {
        var says = answer.headers.get('Tidegate-Seen')
        if (!says) return
        return answer.text().then(function (found) {
          if (!asking) return
          seen = says
          tell()
          show(found)
        })
      }).catch(function () {}).then(function () { asked = false }) // the upload reports the error
    }
    function show (found) {
      var at = document.getElementById('arriving')
      if (at.dataset.shown === found) return // the reader may be in it
      at.dataset.shown = found
      at.innerHTML = found
    }
    request.addEventListener('loadend', function () {
      clearInterval(asking)
      asking = 0
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
      words.textContent = why ? why.textContent : 'The upload was interrupted. Is the gateway running?'
    }
    request.open('POST', form.action)
    request.setRequestHeader('Tidegate-Upload', name)
    request.send(new FormData(form))
  })
})()
