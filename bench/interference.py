"""Live requests beside a batch on a real engine, nothing configured in the gateway.

Usage: python3 bench/interference.py TIDEGATE PORT MODEL UPSTREAM SECONDS

Starts `TIDEGATE serve` on PORT before UPSTREAM, which is a running vLLM that serves
MODEL. Streams one live request a second without a batch for half of SECONDS and
beside one for SECONDS, and prints times to first token, inter-token latencies, their
ratios and the lines per second.
"""
import json,sys,time,http.client,threading,statistics,subprocess,tempfile,os,random
gwbin,port,model=sys.argv[1],int(sys.argv[2]),sys.argv[3]; up=sys.argv[4]; secs=int(sys.argv[5])
d=tempfile.mkdtemp()
p=subprocess.Popen([gwbin,'serve','--listen',f'127.0.0.1:{port}','--data',d,'--upstream',up],stdout=open(d+'/log','wb'),stderr=subprocess.STDOUT)
def req(m,path,body=None,ct='application/json'):
    c=http.client.HTTPConnection('127.0.0.1',port,timeout=300); c.request(m,path,body,{'Content-Type':ct} if body else {}); r=c.getresponse(); return r.status,r.read()
for _ in range(100):
    try:
        if req('GET','/ready')[0]==200: break
    except OSError: pass
    time.sleep(.2)
random.seed(1)
words=open(os.path.join(os.path.dirname(os.path.abspath(__file__)),'../docs/operations.md')).read().split()
def prompt(n): 
    i=random.randrange(len(words)-n); return ' '.join(words[i:i+n])
def live():
    c=http.client.HTTPConnection('127.0.0.1',port,timeout=300); b=json.dumps({'model':model,'stream':True,'max_tokens':32,'ignore_eos':True,'messages':[{'role':'user','content':prompt(40)}]})
    t=time.time(); c.request('POST','/v1/chat/completions',b,{'Content-Type':'application/json'}); r=c.getresponse(); first=None; n=0
    for line in r:
        if line.startswith(b'data: {'):
            if first is None and b'"content":""' not in line: first=time.time()-t
            n+=1; last=time.time()
    itl=(last-t-first)/max(1,n-2)
    return first,itl
def lives(secs):
    out=[];end=time.time()+secs
    while time.time()<end:
        t=time.time(); out.append(live()); time.sleep(max(0,1-(time.time()-t)))
    return out
def show(name,o): 
    f=sorted(x[0] for x in o); i=sorted(x[1] for x in o)
    print(name,'n',len(o),'ttft p50 %.3f p95 %.3f'%(statistics.median(f),f[int(.95*len(f))]),'itl p50 %.4f'%statistics.median(i),flush=True); return statistics.median(f),statistics.median(i)
live();live()
off=show('off',lives(secs//2))
N=4000
lines='\n'.join(json.dumps({'custom_id':str(i),'method':'POST','url':'/v1/chat/completions','body':{'model':model,'max_tokens':random.choice([32,64,96]),'ignore_eos':True,'messages':[{'role':'user','content':prompt(random.choice([30,60,120]))}]}}) for i in range(N))
bd='xx'; body=f'--{bd}\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n--{bd}\r\nContent-Disposition: form-data; name="file"; filename="a.jsonl"\r\n\r\n{lines}\r\n--{bd}--\r\n'
f=json.loads(req('POST','/v1/files',body.encode(),f'multipart/form-data; boundary={bd}')[1])
b=json.loads(req('POST','/v1/batches',json.dumps({'input_file_id':f['id'],'endpoint':'/v1/chat/completions','completion_window':'24h'}))[1])
def counts(): return json.loads(req('GET','/v1/batches/'+b['id'])[1])['request_counts']
time.sleep(12)
c0=counts();t0=time.time()
stop=[False]
def watch():
    while not stop[0]:
        try:
            u=json.loads(req('GET','/health')[1])['upstreams'][0]; print('   limit',u.get('limit'),u.get('limit_reason'),'batch',u['batch_in_flight'],'run',u['running'],'wait',u['waiting'],u['state'],flush=True)
        except Exception as e: print(e)
        time.sleep(5)
threading.Thread(target=watch,daemon=True).start()
on=show('on ',lives(secs))
c1=counts();dt=time.time()-t0; stop[0]=True
print('lines/s %.2f'%((c1['completed']-c0['completed'])/dt),'ttft x%.2f itl x%.2f'%(on[0]/off[0],on[1]/off[1]),'failed',c1['failed'],flush=True)
req('POST',f"/v1/batches/{b['id']}/cancel"); time.sleep(1); p.terminate(); p.wait()
