set terminal svg size 720,336 dynamic noenhanced font 'sans-serif,13' background rgb 'white' name 'arms_bpr_mf'
set output 'arms-bpr_mf.svg.part'
set key outside right top samplen 1.5
set grid lc rgb '#dddddd'
unset key
set title 'bpr_mf'
set xlabel 'ndcg@20 on test'
set yrange [5.5:-0.5]
set ytics ('original' 0, 'augmented' 1, 'control.random' 2, 'control.popularity' 3, 'control.itemknn' 4, 'control.self' 5)
plot '-' using 1:2:3 with xerrorbars pt 7 ps 0.8 lw 1.5 lc rgb '#1f5fa8'
0.314064394 0 0.00310837174
0.325130796 1 0.00470967237
0.290462931 2 0.00197855291
0.295357671 3 0.00579847047
0.30337616 4 0.00410317034
0.314444328 5 0.0021084314
e
