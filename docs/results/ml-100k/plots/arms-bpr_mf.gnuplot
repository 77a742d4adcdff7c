set terminal svg size 480,372 dynamic noenhanced font 'sans-serif,14' background rgb 'white' name 'arms_bpr_mf'
set output 'arms-bpr_mf.svg.part'
set key tmargin left horizontal reverse Left width -4 samplen 1.5
set grid lc rgb '#dddddd'
unset key
set title 'bpr_mf'
set xlabel 'ndcg@20 on test'
set yrange [6.5:-0.5]
set ytics ('original' 0, 'augmented' 1, 'control.random' 2, 'control.popularity' 3, 'control.itemknn' 4, 'control.self' 5, 'control.ensemble' 6)
$arms << END
0.314064394 0 0.00310837174
0.327492889 1 0.00210336738
0.299381036 2 0.00104371978
0.304157222 3 0.00577903574
0.31324788 4 0.00311998173
0.314479802 5 0.00133248531
0.327249183 6 0.00353435562
END
set xtics 0.01
set offsets graph 0.04, graph 0.04, 0, 0
plot $arms using 1:2:3 with xerrorbars pt 7 ps 0.8 lw 1.5 lc rgb '#1f5fa8'
